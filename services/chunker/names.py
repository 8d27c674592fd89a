r"""File names as text: what people see and what a file is identified by.

A name is bytes. Read as UTF-8 with undecodable bytes as surrogates it is a
locator; for display every such byte is written ``\xNN``.
"""

import re

# A real backslash that looks like an escape is escaped itself, so that different names never look the same.
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
_UNDECODABLE = re.compile(r"[\udc80-\udcff]")


def locator(name: bytes) -> str:
    """Return `name` as text that `name_bytes` turns back."""
    return name.decode("utf-8", "surrogateescape")


def name_bytes(locator: str) -> bytes:
    """Return the bytes of a locator."""
    return locator.encode("utf-8", "surrogateescape")


def display(locator: str) -> str:
    """Return a locator as valid Unicode; different locators stay different."""
    if locator.isascii() and "\\" not in locator:
        return locator
    escaped = _LOOKS_ESCAPED.sub(r"\\x5c", locator)
    return _UNDECODABLE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", escaped)
