import logging
import multiprocessing
import socket
import threading
from dataclasses import replace

import pytest

from services.core.adapters.s3 import S3Blobs, S3Bucket, create_bucket
from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable
from tests.fakes_s3 import FaultyS3

DATA = b"0123456789" * 10


@pytest.fixture
def faulty():
    server = FaultyS3()
    yield server
    server.close()


@pytest.fixture
def blobs(faulty):
    return S3Blobs(faulty.bucket())


@pytest.mark.parametrize("fault", ["break_off", "reset", "fail", "busy_for_an_hour"])
@pytest.mark.parametrize("read", [{}, {"start": 10, "length": 50}])
def test_a_fault_that_passes_is_not_noticed(faulty, blobs, fault, read):
    name = blobs.put(DATA)
    faulty.faults.append(fault)

    assert blobs.get(name, **read) == (DATA[10:60] if read else DATA)
    assert len(faulty.asked) == 3


@pytest.mark.parametrize(
    "fault",
    [
        "break_off",
        "reset",
        "fail",
        "busy_for_an_hour",
        "redirect",
        "answer_as_a_web_page",
        "answer_damaged_xml",
        "full",
    ],
)
def test_a_fault_that_stays_is_unavailable(faulty, blobs, fault):
    name = blobs.put(DATA)
    faulty.always = fault

    for call in (lambda: blobs.get(name), lambda: blobs.get(name, 10, 5), lambda: list(blobs.digests())):
        with pytest.raises(Unavailable, match="object store"):
            call()


@pytest.mark.parametrize("fault", ["reset", "fail", "redirect", "answer_as_a_web_page", "full"])
def test_what_was_not_stored_is_not_reported_as_stored(faulty, blobs, fault):
    faulty.always = fault

    with pytest.raises(Unavailable, match="object store"):
        blobs.put(DATA)
    with pytest.raises(Unavailable, match="object store"):
        blobs.delete("0" * 64)


def test_a_store_that_hangs_is_given_up_within_its_limit(faulty):
    blobs = S3Blobs(faulty.bucket(read_timeout_s=0.1))
    faulty.always = "hang"

    with pytest.raises(Unavailable, match="does not answer"):
        blobs.get("0" * 64)

    assert len(faulty.asked) == 2


def test_a_port_where_nobody_listens_is_unavailable():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/bucket"

        with pytest.raises(Unavailable, match="is it running"):
            S3Blobs(S3Bucket(url, "key", "secret")).put(DATA)


@pytest.mark.parametrize("fault", ["flip", "shorten"])
def test_bytes_that_do_not_match_are_refused_counted_and_logged(faulty, blobs, fault, caplog):
    name = blobs.put(DATA)
    faulty.faults.append(fault)

    with caplog.at_level(logging.ERROR), pytest.raises(CorruptData, match=name):
        blobs.get(name)

    assert (caplog.messages, blobs.mismatches) == (["blob_mismatched"], 1)
    assert blobs.get(name) == DATA


def test_a_damaged_blob_is_mended_by_storing_it_again(faulty, blobs):
    name = blobs.put(DATA)
    (key,) = faulty.objects
    faulty.objects[key] = b"x" * len(DATA)

    blobs.put(DATA)

    assert blobs.get(name) == DATA


def test_a_range_that_comes_too_short_is_refused(faulty, blobs):
    name = blobs.put(DATA)
    faulty.faults.append("shorten")

    with pytest.raises(CorruptData, match="100 bytes, 10 from 20 were asked for and 9 came"):
        blobs.get(name, 20, 10)


def test_a_store_without_ranges_is_refused(faulty, blobs):
    name = blobs.put(DATA)
    faulty.always = "ignore_the_range"

    with pytest.raises(Unavailable, match="ranges"):
        blobs.get(name, 20, 10)


def test_a_blob_is_sent_in_one_request_whatever_its_size(faulty, blobs):
    data = bytes(12 << 20)

    name = blobs.put(data)

    assert faulty.asked == [("PUT", f"/bucket/{name[:2]}/{name}")]
    assert blobs.get(name) == data


def test_connections_are_kept_for_the_next_request(faulty, blobs):
    name = blobs.put(DATA)
    threads = threading.active_count()

    for _ in range(20):
        blobs.get(name, 1, 1)

    # The fake has a thread for each connection.
    assert threading.active_count() == threads


def test_a_store_opened_before_a_fork_serves_both_sides(faulty, blobs):
    names = [blobs.put(str(i).encode() * 1000) for i in range(4)]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=lambda: [blobs.get(name) for name in names * 20]) for _ in range(2)]

    for child in children:
        child.start()
    read = [blobs.get(name) for name in names * 20]
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0]
    assert len(read) == 80


def test_wrong_keys_say_what_to_check(s3_bucket):
    blobs = S3Blobs(replace(s3_bucket, secret_key="wrong"))

    for call in (lambda: blobs.put(DATA), lambda: blobs.get("0" * 64), lambda: list(blobs.digests())):
        with pytest.raises(Unavailable, match="check QUARRY_S3_ACCESS_KEY"):
            call()


def test_a_missing_bucket_is_not_a_missing_blob(s3_bucket):
    blobs = S3Blobs(replace(s3_bucket, url=f"{s3_bucket.url}-other"))

    for call in (lambda: blobs.put(DATA), lambda: blobs.get("0" * 64), lambda: list(blobs.digests())):
        with pytest.raises(Unavailable, match="there is no bucket"):
            call()


def test_a_bucket_is_created_once(s3_bucket):
    other = replace(s3_bucket, url=f"{s3_bucket.url}-new")

    create_bucket(other)
    name = S3Blobs(other).put(DATA)
    create_bucket(other)

    assert S3Blobs(other).get(name) == DATA
    with pytest.raises(NotFound):
        S3Blobs(s3_bucket).get(name)


@pytest.mark.parametrize(
    "url",
    ["", "bucket", "http://host:9000", "http://host:9000/", "http:///bucket", "ftp://host/bucket", "http://host/a/b",
     "http://host/Bucket", "http://host/b", "http://host/bucket?x=1", "http://key:secret@host/bucket"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidRequest, match="QUARRY_S3_URL"):
        S3Blobs(S3Bucket(url, "key", "secret"))


def test_keys_are_needed_and_the_secret_is_not_shown():
    with pytest.raises(InvalidRequest, match="QUARRY_S3_SECRET_KEY"):
        S3Blobs(S3Bucket("http://host:9000/bucket", "key", ""))
    assert "hidden" not in repr(S3Bucket("http://host:9000/bucket", "key", "hidden"))
