import threading

from services.api.barrier import ReadBarrier


def test_waiting_with_no_search_returns_at_once():
    assert ReadBarrier().wait(timeout_s=0)


def test_waiting_ends_when_the_searches_begun_before_have_ended():
    barrier = ReadBarrier()
    ended = threading.Event()
    reading = barrier.reading()
    reading.__enter__()
    waiter = threading.Thread(target=lambda: (barrier.wait(), ended.set()))
    waiter.start()

    assert not barrier.wait(timeout_s=0.01)
    assert not ended.is_set()
    reading.__exit__(None, None, None)

    assert ended.wait(5)
    waiter.join()


def test_waiting_does_not_wait_for_searches_begun_later():
    barrier = ReadBarrier()
    before = barrier.reading()
    before.__enter__()
    waited = threading.Event()
    waiter = threading.Thread(target=lambda: (barrier.wait(), waited.set()))
    waiter.start()
    while barrier._epoch == 0:
        pass

    with barrier.reading():
        before.__exit__(None, None, None)
        assert waited.wait(5)

    waiter.join()


def test_a_search_that_fails_no_longer_holds_the_barrier():
    barrier = ReadBarrier()

    try:
        with barrier.reading():
            raise ValueError
    except ValueError:
        pass

    assert barrier.wait(timeout_s=0)
