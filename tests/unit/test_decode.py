"""Claims about turning raw bytes into stored text."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chunker.decode import decode
from services.core.model import SkipReason

TEXT = "def grüße(name):\n    return f'¡{name}!'\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"\r\r", b"\r\r"),
        (b"no final newline", b"no final newline"),
        (TEXT.encode(), TEXT.encode()),
        (TEXT.encode("utf-8-sig"), TEXT.encode()),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), TEXT.encode()),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), TEXT.encode()),
        (TEXT.encode("utf-16-le"), TEXT.encode()),
        (TEXT.encode("utf-16-be"), TEXT.encode()),
        (b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"), TEXT.encode()),
        (b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"), TEXT.encode()),
        (TEXT.encode("cp1252"), TEXT.encode()),
        ("price = “5 €”".encode("cp1252"), "price = “5 €”".encode()),
        (b"na\xefve \x81", "naïve \x81".encode()),
        ("ä".encode() * 40 + b"\xff", "ä".encode() * 40 + "\ufffd".encode()),
        (b"\x1b[31mred\x1b[0m\n", b"\x1b[31mred\x1b[0m\n"),
    ],
)
def test_text_in_any_common_encoding_becomes_utf8(raw, expected):
    assert decode(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"import os\nx = '\0'\n",
        b"\x7fELF\x02\x01\x01\0" + bytes(60),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        zlib.compress(bytes(range(256)) * 40),
        b"\xff\xfe" + b"\x00\xd8" * 20,
        b"\xff\xfe" + "a\0b".encode("utf-16-le"),
        b"\xff\xfeodd",
        b"\x01\x02\x03\x04\x05 text",
        b"\x01\xe9\x02",
    ],
)
def test_what_is_not_text_is_binary(raw):
    assert decode(raw) is SkipReason.BINARY


def test_valid_utf8_is_not_copied():
    raw = TEXT.encode()

    assert decode(raw) is raw


@given(st.binary() | st.text().map(str.encode) | st.text().map(lambda t: t.encode("utf-16")))
def test_any_bytes_are_binary_or_become_utf8_without_nul(raw):
    text = decode(raw)

    assert text is SkipReason.BINARY or "\0" not in text.decode()


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs"])),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
def test_every_printable_text_survives_any_marked_encoding(text, encoding):
    assert decode(text.encode(encoding)) == text.encode()
