"""Blobs as objects of one bucket, named by their digest (``ab/ab12…``), in any store that speaks S3.

Only PUT, GET with and without a range, HEAD, DELETE and LIST are used. No checksum of the
store is relied on: a whole blob is verified against its digest whenever it is read.
"""

import io
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

from minio import Minio
from minio.datatypes import Object
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, ProtocolError

from services.core.digest import digest
from services.core.errors import CorruptData, InvalidRequest, NotFound, Unavailable

_log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Further tries of one request. What stays away for longer is for the stage's own retry, which
# doesn't hold a worker; the waits between are 0, 0.4 and so on seconds.
_RETRIES = 2
_BACKOFF_S = 0.2
_RETRIED_STATUSES = (500, 502, 503, 504)
# Threads that read at once keep their connections; more than these open and close theirs.
_KEPT_CONNECTIONS = 16
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"})


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """Where a bucket is and how it is reached: ``http(s)://host:port/bucket``, keys, region, time limits."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0

    @property
    def name(self) -> str:
        """Name of the bucket."""
        return urlsplit(self.url).path.strip("/")

    def checked(self) -> "S3Bucket":
        """Return it.

        Raises:
            InvalidRequest: the address is not of that form, or a key is missing.
        """
        parts = urlsplit(self.url)
        plain = not (parts.query or parts.fragment or parts.username)
        if not (parts.scheme in ("http", "https") and parts.hostname and plain and _BUCKET.fullmatch(self.name)):
            raise InvalidRequest(f"QUARRY_S3_URL={self.url!r} is not an address like 'http://host:9000/bucket'")
        if not (self.access_key and self.secret_key):
            raise InvalidRequest("the object store needs QUARRY_S3_ACCESS_KEY and QUARRY_S3_SECRET_KEY")
        return self


def create_bucket(bucket: S3Bucket) -> None:
    """Create the bucket; one that is there already is no error.

    Raises:
        InvalidRequest: its address is not one.
        Unavailable: the store does not answer, or the keys may not create it.
    """
    client = _connect(bucket.checked())
    with _translated(bucket):
        if client.bucket_exists(bucket.name):
            return
        try:
            client.make_bucket(bucket.name, location=bucket.region)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


class S3Blobs:
    """A `BlobStore` in a bucket; threads may share it, and so may processes, forked ones too.

    mismatches: whole blobs read here that did not match their digest.
    """

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket.checked()
        self._lock = threading.Lock()
        self._process = 0
        self._minio: Minio | None = None
        self.mismatches = 0

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its digest; one that is damaged is replaced.

        It is sent whether it is there or not: that mends a damaged one, costs a round trip less than to
        ask first, and gives it a new date, so that nobody who deletes by age takes it from under its writer.

        Raises:
            Unavailable: the store does not answer or does not take it.
        """
        name = digest(data)
        with _translated(self._bucket):
            # One part, whatever its size: a store need not know of multipart uploads.
            self._client().put_object(
                self._bucket.name, _key(name), io.BytesIO(data), len(data), part_size=_part_size(len(data))
            )
        return name

    def get(self, digest: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a blob, verified, or `length` bytes of it from `start`, unverified.

        Raises:
            NotFound: there is no such blob.
            CorruptData: the bytes do not match, or the blob is shorter than the range.
            Unavailable: the store does not answer.
        """
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest!r} is not the digest of a blob (64 hex digits)")
        with _translated(self._bucket, digest):
            if start == 0 and length is None:
                return self._verified(digest, self._read(digest))
            return self._range(digest, start, length)

    def delete(self, digest: str, *, older_than_s: float = 0.0) -> None:
        """Remove a blob, unless it was stored, or stored again, since so long; one that is not there is no error."""
        if not _DIGEST.fullmatch(digest):
            return
        with _translated(self._bucket):
            try:
                # No store can be asked to delete by age, so a moment stays between the answer and the deletion.
                if not older_than_s or _is_older(self._stat(digest), older_than_s):
                    self._client().remove_object(self._bucket.name, _key(digest))
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise

    def digests(self, *, older_than_s: float = 0.0) -> Iterator[str]:
        """Yield the digest of every blob that was not stored, or stored again, since so long; in no order."""
        with _translated(self._bucket):
            for listed in self._client().list_objects(self._bucket.name, recursive=True):
                folder, _, name = (listed.object_name or "").partition("/")
                if _DIGEST.fullmatch(name) and folder == name[:2] and _is_older(listed, older_than_s):
                    yield name

    def _client(self) -> Minio:
        with self._lock:
            if self._minio is None or self._process != os.getpid():
                # A socket inherited over a fork would mix up two processes' answers.
                self._minio, self._process = _connect(self._bucket), os.getpid()
            return self._minio

    def _verified(self, name: str, data: bytes) -> bytes:
        if digest(data) == name:
            return data
        with self._lock:
            self.mismatches += 1
        _log.error("blob_mismatched", extra={"blob": name, "bucket": self._bucket.url, "bytes": len(data)})
        raise CorruptData(f"blob {name} in {self._bucket.url!r} does not match its digest; run 'quarry rebuild'")

    def _range(self, name: str, start: int, length: int | None) -> bytes:
        data = b""
        if start >= 0 and (length is None or length > 0):
            try:
                data = self._read(name, start, length or 0)
            except S3Error as error:
                if error.code != "InvalidRange":
                    raise
            if len(data) == length:
                return data
        # An empty range, one without an end, or one beyond the end of the blob: its size decides.
        size = self._stat(name).size or 0
        wanted = size - start if length is None else length
        if start < 0 or wanted < 0 or wanted != len(data) or start + wanted > size:
            asked = f"{wanted} from {start} were asked for and {len(data)} came"
            raise CorruptData(f"blob {name} has {size} bytes, {asked}; run 'quarry rebuild'")
        return data

    def _stat(self, name: str) -> Object:
        return self._client().stat_object(self._bucket.name, _key(name))

    def _read(self, name: str, start: int = 0, length: int = 0) -> bytes:
        # The pool repeats a request, but not an answer that began and broke off.
        for _ in range(_RETRIES):
            with suppress(ProtocolError):
                return self._read_once(name, start, length)
        return self._read_once(name, start, length)

    def _read_once(self, name: str, start: int, length: int) -> bytes:
        response = self._client().get_object(self._bucket.name, _key(name), start, length)
        try:
            if (start or length) and response.status != 206:
                raise Unavailable(f"the object store at {self._bucket.url!r} does not answer ranges; use another")
            return response.read()
        except BaseException:
            # What was not read to its end must not be taken for the next answer.
            response.close()
            raise
        finally:
            response.release_conn()


def _is_older(blob: Object, seconds: float) -> bool:
    # One without a date may be of this moment. The date is by the store's clock.
    if not seconds:
        return True
    return blob.last_modified is not None and time.time() - blob.last_modified.timestamp() >= seconds


def _key(name: str) -> str:
    return f"{name[:2]}/{name}"


def _part_size(size_bytes: int) -> int:
    # The client splits at this size, and takes none below 5 MiB.
    return max(size_bytes, 5 << 20)


def _connect(bucket: S3Bucket) -> Minio:
    parts = urlsplit(bucket.url)
    retry = Retry(
        total=_RETRIES,
        read=1,
        # A redirect would be followed with a signature that is for another address.
        redirect=0,
        raise_on_redirect=False,
        backoff_factor=_BACKOFF_S,
        status_forcelist=_RETRIED_STATUSES,
        # Else the store could have us sleep for an hour.
        respect_retry_after_header=False,
    )
    pool = PoolManager(
        maxsize=_KEPT_CONNECTIONS,
        timeout=Timeout(connect=bucket.connect_timeout_s, read=bucket.read_timeout_s),
        retries=retry,
    )
    return Minio(
        parts.netloc,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
        secure=parts.scheme == "https",
        # Without a region the client asks for it first, which not every store answers.
        region=bucket.region,
        http_client=pool,
    )


@contextmanager
def _translated(bucket: S3Bucket, name: str = "") -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise _translation(error, bucket, name) from error
    except (InvalidResponseError, ServerError) as error:
        raise Unavailable(f"the object store at {bucket.url!r} answered what is not S3: {error}") from error
    except (MinioException, HTTPError, OSError, ParseError, ValueError) as error:
        raise Unavailable(f"the object store at {bucket.url!r} does not answer: {error}; is it running?") from error


def _translation(error: S3Error, bucket: S3Bucket, name: str) -> Exception:
    if error.code == "NoSuchKey" and name:
        return NotFound(f"blob {name} is not in {bucket.url!r}")
    if error.code == "NoSuchBucket":
        return Unavailable(f"there is no bucket at {bucket.url!r}; create it, or correct QUARRY_S3_URL")
    if error.code in _DENIED:
        return Unavailable(
            f"the object store at {bucket.url!r} refuses access ({error.code}); "
            "check QUARRY_S3_ACCESS_KEY, QUARRY_S3_SECRET_KEY, QUARRY_S3_REGION and what the key may do"
        )
    return Unavailable(f"the object store at {bucket.url!r} failed: {error.code}, {error.message}")
