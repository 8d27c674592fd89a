"""What a queue needs of its Redis: one that forgets nothing, and that is not the cache's.

A Redis that may evict drops a whole queue at once when it is full, without an error anywhere:
all of 600 messages went when that was tried with ``allkeys-lru``. So processes refuse to start on one.
"""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from services.core.errors import InvalidRequest, Unavailable

_TIMEOUT_S = 5.0


def check_broker(url: str, cache_url: str = "") -> None:
    """Return if the Redis at `url` may hold the queues, beside the cache's one if given.

    Raises:
        InvalidRequest: it may evict, it is the cache's Redis (another database of the same server
            included), or the address is not one.
        Unavailable: one of them does not answer.
    """
    broker = _info("QUARRY_BROKER_URL", url)
    policy = broker.get("maxmemory_policy")
    if policy != "noeviction":
        raise InvalidRequest(
            f"the Redis at QUARRY_BROKER_URL has maxmemory-policy {policy}: it may drop queued messages; "
            "set 'maxmemory-policy noeviction' there"
        )
    if cache_url and _info("QUARRY_CACHE_URL", cache_url).get("run_id") == broker.get("run_id"):
        raise InvalidRequest(
            "QUARRY_BROKER_URL and QUARRY_CACHE_URL are one Redis server: a cache evicts and a queue must not, "
            "and another database of the same server doesn't part them; run two servers"
        )


def _info(setting: str, url: str) -> dict[str, Any]:
    try:
        with Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        ) as client:
            # Not CONFIG GET, which hosted servers forbid.
            answer: Any = client.info()
            return dict(answer)
    except ValueError as error:
        raise InvalidRequest(f"{setting} is not an address like 'redis://host:6379/0': {error}") from error
    except (RedisError, OSError) as error:
        raise Unavailable(f"the Redis at {setting} does not answer: {error}; is it running?") from error
