"""Raw bytes of a file to the text that is stored: UTF-8 without byte-order mark, or the verdict that it is not text.

Line ends are kept as they are. What is valid UTF-8 already is returned as the same object.
"""

import codecs

from services.core.model import SkipReason

# A sample this long tells text from binary; git looks for NULs in as much.
_SAMPLE_BYTES = 8000

_BOMS = (
    # UTF-32 before UTF-16: the little-endian mark of UTF-16 begins that of UTF-32.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# What text may hold below 0x20: back space, tab, line feed, vertical tab, form feed, carriage return, escape.
_NOT_CONTROLS = bytes(b for b in range(256) if b >= 32 and b != 127) + b"\b\t\n\v\f\r\x1b"
_ASCII = bytes(range(128))


def decode(raw: bytes) -> bytes | SkipReason:
    """Return the text of `raw` as UTF-8, or ``SkipReason.BINARY``."""
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[len(codecs.BOM_UTF8) :]
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return _wide(raw[len(mark) :], encoding)
    if b"\0" in raw:
        unmarked = _utf16_without_mark(raw)
        return _wide(raw, unmarked) if unmarked else SkipReason.BINARY
    return _narrow(raw)


def _narrow(raw: bytes) -> bytes | SkipReason:
    """Text of bytes without NULs."""
    valid = raw.isascii() or _is_utf8(raw)
    # One control character in ten is more than any terminal log has; legacy encodings
    # have no structure that vouches for them, so there one in fifty is too many.
    if _controls(raw) * (10 if valid else 50) > min(len(raw), _SAMPLE_BYTES):
        return SkipReason.BINARY
    return raw if valid else _legacy(raw)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _controls(raw: bytes) -> int:
    return len(raw[:_SAMPLE_BYTES].translate(None, _NOT_CONTROLS))


def _legacy(raw: bytes) -> bytes:
    """Transcode text that is not UTF-8: damaged UTF-8 keeps what is valid, all else is read as Western European."""
    repaired = raw.decode("utf-8", "replace")
    damaged = repaired.count("\ufffd")
    non_ascii = len(repaired) - (len(raw) - len(raw.translate(None, _ASCII)))
    # Latin-1 text almost never forms valid multi-byte sequences, so ten good ones to a bad one mean UTF-8.
    if non_ascii > 10 * damaged:
        return repaired.encode()
    try:
        return raw.decode("cp1252").encode()
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()


def _wide(raw: bytes, encoding: str) -> bytes | SkipReason:
    try:
        text = raw.decode(encoding).encode()
    except UnicodeError:
        return SkipReason.BINARY
    return SkipReason.BINARY if b"\0" in text or _controls(text) * 10 > len(text) else text


def _utf16_without_mark(raw: bytes) -> str | None:
    """Name the UTF-16 that `raw` certainly is: most characters below 256, and not one NUL on the other side."""
    if len(raw) % 2:
        return None
    even, odd = raw[:_SAMPLE_BYTES:2], raw[1:_SAMPLE_BYTES:2]
    if not even.count(0) and odd.count(0) * 10 >= len(odd) * 7:
        return "utf-16-le"
    if not odd.count(0) and even.count(0) * 10 >= len(even) * 7:
        return "utf-16-be"
    return None
