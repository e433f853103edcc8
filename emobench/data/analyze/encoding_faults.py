"""Encoding faults: what a text looks like after it was decoded with the wrong table. Finds them; repairs nothing.

Three kinds: the replacement character (the original is lost), UTF-8 read as cp1252 or Latin-1 ("Ã©" for "é"), and
cp1252 read as Latin-1 (invisible control characters U+0080 to U+009F where quotes and dashes stood).
"""

from __future__ import annotations

import re
from unicodedata import category

REPLACEMENT = "\ufffd"


def _read_wrongly(low: int, high: int) -> str:
    """Characters that bytes low to high become in cp1252 (Latin-1 where cp1252 has none), for use in a class."""
    found = set()
    for value in range(low, high + 1):
        byte = bytes([value])
        found |= {byte.decode("latin-1"), byte.decode("cp1252", "ignore")}
    return "".join(re.escape(sign) for sign in sorted(found) if sign)


_NEXT = f"[{_read_wrongly(0x80, 0xBF)}]"
_SUSPECT = re.compile(
    # Signs of Western texts one by one; others only in runs: "Spaß“" and "café »" are two bytes of UTF-8 too.
    f"[ÂÃ]{_NEXT}|â{_NEXT}{{2}}|ð{_NEXT}{{3}}|(?:[Ä-ß]{_NEXT}|[à-ï]{_NEXT}{{2}}){{2,}}"
)
_LATIN_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
"""Without U+0085, which is a line end in some files."""


def encoding_faults(text: str) -> tuple[int, int, int]:
    """Where a text first holds a replacement character, UTF-8 read as cp1252, and cp1252 read as Latin-1.

    -1 where it holds none; a text with the second is not searched for the third, which double faults look like.
    """
    if text.isascii():
        return -1, -1, -1
    wrong = next((match.start() for match in _SUSPECT.finditer(text) if _is_utf8(match[0])), -1)
    control = _LATIN_CONTROLS.search(text) if wrong < 0 else None
    return text.find(REPLACEMENT), wrong, -1 if control is None else control.start()


def _is_utf8(suspect: str) -> bool:
    """Whether the characters, put back into bytes, are UTF-8 of assigned characters that are no controls."""
    data = b"".join(_byte(sign) for sign in suspect)
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not any(category(sign) in ("Cc", "Cn", "Co") for sign in found)


def _byte(sign: str) -> bytes:
    try:
        return sign.encode("cp1252")
    except UnicodeEncodeError:
        return sign.encode("latin-1")
