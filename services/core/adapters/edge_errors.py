"""The engine's errors as Quarry's: one plain `Exception` type with a text, and panics that are no `Exception`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.errors import CorruptData, QuarryError, Unavailable

# What the engine says when the machine, not the data, is in its way.
_TRANSIENT = re.compile(
    r"no space|disk quota|too many open files|cannot allocate|out of memory|permission denied|read-only file system"
    r"|would ?block|resource temporarily unavailable|out of disk",
    re.IGNORECASE,
)


@contextmanager
def translated(directory: Path) -> Iterator[None]:
    """Raise what the engine raises inside as `Unavailable` or `CorruptData` naming `directory`."""
    try:
        yield
    except (QuarryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except OSError as error:
        raise Unavailable(f"vector store {str(directory)!r} can't be used: {error.strerror or error}") from error
    except Exception as error:
        raise _quarry_error(error, directory) from error
    except BaseException as error:
        # A panic of the engine derives from BaseException only; its type can't be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise _quarry_error(error, directory) from error


def _quarry_error(error: BaseException, directory: Path) -> QuarryError:
    text = " ".join(str(error).split())[:300]
    if _TRANSIENT.search(text):
        return Unavailable(f"vector store {str(directory)!r} can't be used: {text}")
    return CorruptData(f"vector store {str(directory)!r} is damaged: {text}; run 'quarry rebuild'")
