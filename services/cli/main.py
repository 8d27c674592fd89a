"""Entry point: parse the arguments, run the command, turn errors into one line and an exit status.

Exit status: 0 done; 1 failed; 2 the request can't be carried out as given;
3 something needed is not available now; 4 stored data is damaged; 130 interrupted.
"""

import gc
import os
import select
import signal
import sys
from collections.abc import Sequence

from services.cli.arguments import parser
from services.core.collector import collect_rarely
from services.core.errors import QuarryError
from services.core.log import configure
from services.core.settings import Settings

_INTERRUPTED = 130


def run() -> int:
    """Return the exit status of the command line, for a process that does nothing else."""
    status = main()
    # The interpreter looks through everything that is left, although all of it goes: 0.05 s after an index.
    gc.freeze()
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    collect_rarely()
    try:
        arguments = parser().parse_args(argv)
        configure(verbose=arguments.command == "serve")
        status: int = arguments.run(arguments, Settings.from_env())
        sys.stdout.flush()
        return status
    except QuarryError as error:
        print(f"quarry: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("quarry: interrupted; the same command goes on from here", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # `quarry search x | head`; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _reader_is_gone() -> bool:
    # Any pipe or socket may have been the broken one.
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
