"""Logging: static event names, fields beside them, one line each on standard error."""

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value!r}" for key, value in vars(record).items() if key not in _STANDARD)
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        line = f"{stamp} {record.levelname.lower()} {record.name} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, verbose: bool = False) -> None:
    """Send the log to standard error: warnings and worse, or everything of note if `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)
    for chatty, level in (
        ("waitress", logging.WARNING),
        ("httpx", logging.WARNING),
        ("urllib3", logging.ERROR),
        ("celery", logging.WARNING),
    ):
        logging.getLogger(chatty).setLevel(level)
