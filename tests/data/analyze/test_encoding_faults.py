"""Encoding faults: texts of many languages read with the wrong table are told from the same texts read rightly."""

from __future__ import annotations

import pytest

from emobench.data.analyze.encoding_faults import encoding_faults
from tests.data.analyze.planted import ACCENTS, FRENCH, GERMAN, SPANISH, reviews

RIGHT = (
    *FRENCH,
    *GERMAN[:2],
    *SPANISH,
    "„Das macht Spaß“, sagte er \u2013 »große Klasse«… 20 °C und 5 €.",
    "Un café\u00a0» et une idée\u00a0: «\u00a0voilà\u00a0»\u2026 la forêt\u00a0!",
    "NÃO É BEM ASSIM, AMANHÃ TALVEZ. São Paulo é ótima.",
    "Фильм был очень хорошим — «лучшим».",
    "这部电影很好看。",
    "Ελληνικά και «εισαγωγικά»",
    "plain",
    "",
)
WRONG = tuple(text for text in (*RIGHT, ACCENTS, "it\u2019s “so” good…", "naïve", "\U0001f600") if not text.isascii())


def read_as_cp1252(text: str) -> str:
    """UTF-8 read as cp1252, where cp1252 has no character as Latin-1, as browsers do."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in text.encode()
    )


@pytest.mark.parametrize("text", RIGHT)
def test_texts_read_rightly_have_no_fault(text: str) -> None:
    """Letters that could be bytes of UTF-8 stand beside quotes and no-break spaces in ordinary texts."""
    assert encoding_faults(text) == (-1, -1, -1)


@pytest.mark.parametrize("text", WRONG)
def test_utf8_read_as_cp1252_is_told(text: str) -> None:
    """Also where it was read wrongly twice."""
    first = next(place for place, sign in enumerate(text) if not sign.isascii())
    assert encoding_faults(read_as_cp1252(text))[1] == first
    assert encoding_faults(read_as_cp1252(read_as_cp1252(text)))[1] >= 0


def test_other_faults_are_told_apart() -> None:
    """The replacement character, and cp1252 read as Latin-1; a line end of old files is none."""
    assert encoding_faults("caf\ufffd") == (3, -1, -1)
    assert encoding_faults("it\u2019s".encode("cp1252").decode("latin-1")) == (-1, -1, 2)
    assert encoding_faults("one\x85two") == (-1, -1, -1)


def test_english_reviews_are_hardly_ever_taken_for_faulty() -> None:
    """Of 8,530 sentences that were read rightly fewer than 1 in 1,000 is told to be mojibake."""
    texts = [text for text, _ in reviews("rotten_tomatoes-train")]
    assert sum(encoding_faults(text)[1] >= 0 for text in texts) < len(texts) / 1_000
