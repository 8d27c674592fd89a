import pytest
import redis

from services.core.adapters.redis_check import check_broker
from services.core.errors import InvalidRequest, Unavailable
from tests.servers import free_port


def test_a_redis_that_never_evicts_may_hold_the_queues(redis_url, cache_url):
    check_broker(redis_url)
    check_broker(redis_url, cache_url)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_a_redis_that_may_evict_is_refused(redis_url, policy):
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", policy)
        try:
            with pytest.raises(InvalidRequest, match=f"maxmemory-policy {policy}.*noeviction"):
                check_broker(redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_queues_and_cache_on_one_server_are_refused_whatever_the_database(redis_url):
    for cache_url in (redis_url, redis_url.replace("/0", "/1"), redis_url.replace("127.0.0.1", "localhost")):
        with pytest.raises(InvalidRequest, match="one Redis server"):
            check_broker(redis_url, cache_url)


def test_a_broker_that_does_not_answer_is_unavailable(redis_url):
    nobody = f"redis://:secret@127.0.0.1:{free_port()}/0"

    with pytest.raises(Unavailable, match="QUARRY_BROKER_URL does not answer") as caught:
        check_broker(nobody)
    assert "secret" not in str(caught.value)
    with pytest.raises(Unavailable, match="QUARRY_CACHE_URL does not answer"):
        check_broker(redis_url, nobody)


@pytest.mark.parametrize("url", ["", "amqp://localhost", "redis://localhost:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidRequest, match="QUARRY_BROKER_URL"):
        check_broker(url)
