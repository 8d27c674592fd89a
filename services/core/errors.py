"""The exceptions Quarry raises on purpose, and nothing else.

    QuarryError
    ├── InvalidRequest   the caller must change something (HTTP 400, exit 2)
    │   └── NotFound     what the caller named is not there (HTTP 404, exit 2)
    ├── Unavailable      something needed does not answer now; retrying may help (HTTP 503, exit 3)
    │   └── QueueFull    too much waits to be indexed already (HTTP 503 with Retry-After)
    ├── Unreachable      the server of a repository does not answer or refuses, and may do so for ever (exit 3)
    └── CorruptData      stored bytes are not what was written; retrying never helps (HTTP 500, exit 4)

A message says what failed, on what, the limit with its unit, and what to do.
"""


class QuarryError(Exception):
    """Base of every error raised on purpose; ``code`` is the stable name clients may match."""

    code = "internal"
    http_status = 500
    exit_status = 1


class InvalidRequest(QuarryError):
    """The request can't be carried out as given."""

    code = "invalid_request"
    http_status = 400
    exit_status = 2


class NotFound(InvalidRequest):
    """The repository, revision, job or path named does not exist."""

    code = "not_found"
    http_status = 404


class Unavailable(QuarryError):
    """A part that is needed does not answer now."""

    code = "unavailable"
    http_status = 503
    exit_status = 3


class QueueFull(Unavailable):
    """So much waits to be indexed that no more is taken on now."""

    code = "queue_full"


class Unreachable(QuarryError):
    """A repository can't be fetched; not one of our own servers, so trying again must come to an end."""

    code = "unreachable"
    http_status = 503
    exit_status = 3


class CorruptData(QuarryError):
    """Stored bytes do not match their digest or format."""

    code = "corrupt_data"
    exit_status = 4


_ALL = (QuarryError, InvalidRequest, NotFound, Unavailable, QueueFull, Unreachable, CorruptData)
ERRORS = {error.code: error for error in _ALL}
