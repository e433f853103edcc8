"""Texts against the model: cut-off share, pieces a word, repetitions and rows in two splits."""

from __future__ import annotations

import pytest

from emobench.data_profile import TokenLengths
from emobench.preflight.text import duplicates, leaks, tokenizer, truncation
from tests.preflight.planned_cases import a_case, only, planned, some_data

LONG = TokenLengths(
    texts=256,
    sampled=True,
    mean=300.0,
    p50=250,
    p90=600,
    p99=1100,
    longest=1400,
    share_over={128: 0.9, 256: 0.5, 512: 0.13, 1024: 0.02, 2048: 0.0},
)


def test_clean_data_has_no_finding() -> None:
    """Nothing is said of short, different texts under their own tokenizer."""
    data = some_data()
    assert not [found for look in (truncation, tokenizer, duplicates, leaks) for found in look(planned(data=data))]


def test_without_data_nothing_is_said() -> None:
    """What nobody measured is no finding."""
    assert not [found for look in (truncation, tokenizer, duplicates, leaks) for found in look(planned())]


@pytest.mark.parametrize(("share", "level"), [(0.005, None), (0.05, "note"), (0.9, "warn")])
def test_the_share_of_cut_texts_decides(share: float, level: str | None) -> None:
    """From a hundredth it is mentioned, from a tenth it is warned of."""
    found = list(truncation(planned(data=some_data(share_truncated=share, lengths=LONG))))
    assert [item.level for item in found] == ([level] if level else [])


def test_truncation_names_the_length_that_would_do() -> None:
    """The numbers are the data's, and the length proposed covers all but a hundredth within the context."""
    data = some_data(share_truncated=0.9, lengths=LONG)
    found = only(truncation(planned(a_case(), data=data)))
    assert (
        "90 % of the texts of reviews are longer than 128 tokens under the tokenizer of all-minilm-l6-v2"
        in found.problem
    )
    assert "half of the texts have more than 250 tokens" in found.why
    assert "of 256 sampled texts" in found.why
    # MiniLM takes 512, which is not enough for 2048.
    assert found.fixes[0].setting == "--emo-set max_length=512"
    assert "which cuts 13 %" in found.fixes[0].text
    assert "4 times the work" in found.fixes[0].trade_off
    far = only(truncation(planned(a_case(model="qwen2.5-1.5b"), data=data)))
    assert far.fixes[0].setting == "--emo-set max_length=2048"
    assert not any(fix.safe for fix in found.fixes)


def test_at_the_context_no_longer_input_is_proposed() -> None:
    """Where the model reads no more, the fixes say so and set nothing."""
    data = some_data(share_truncated=0.2, lengths=LONG, max_length=512)
    found = only(truncation(planned(a_case(sizes={"max_length": 512}), data=data)))
    assert [fix.setting for fix in found.fixes] == ["--emo-silence truncation"]
    assert "takes 512 tokens at most" in found.fixes[0].trade_off


def test_random_weights_read_no_texts() -> None:
    """With random weights the tokens are drawn, and nothing is cut off."""
    case = a_case(weights="random")
    assert not list(truncation(planned(case, data=some_data(share_truncated=0.9))))


def test_unknown_tokens_are_counted() -> None:
    """From a hundredth of the tokens on, unknown ones are a warning with their share."""
    found = only(tokenizer(planned(data=some_data(unknown_share=0.22))))
    assert "22 % of the tokens of reviews are unknown to the tokenizer of all-minilm-l6-v2" in found.problem
    assert not list(tokenizer(planned(data=some_data(unknown_share=0.009))))


@pytest.mark.parametrize(
    ("word", "character", "unit"),
    [(1.3, 0.25, None), (2.9, 0.5, None), (3.4, 0.6, "word"), (60.0, 1.0, None), (90.0, 1.6, "character")],
)
def test_pieces_are_judged_by_the_word_or_by_the_character(word: float, character: float, unit: str | None) -> None:
    """Where white space does not separate words, tokens a word mean nothing and characters are counted."""
    found = list(tokenizer(planned(data=some_data(tokens_per_word=word, tokens_per_character=character))))
    assert [next(iter(item.numbers)) for item in found] == ([f"tokens_per_{unit}"] if unit else [])


def test_languages_are_named_only_where_somebody_looked() -> None:
    """The measured rate is the finding; a language stands there if it was detected, and never else."""
    high = {"tokens_per_word": 4.0, "tokens_per_character": 0.7}
    assert "for this language:" in only(tokenizer(planned(data=some_data(**high)))).why
    told = only(tokenizer(planned(data=some_data(**high, languages={"Finnish": 0.97, "unknown": 0.03}))))
    assert "for this language (Finnish 97 %, unknown 3 %):" in told.why


def test_repetitions_are_told_from_a_twentieth_on() -> None:
    """Repeated rows and near repetitions have their own sentences and their own shares."""
    assert not list(duplicates(planned(data=some_data(duplicates=30, near_duplicates=30))))
    found = list(duplicates(planned(data=some_data(duplicates=700, near_duplicates=300))))
    assert ["repeat another row" in found[0].problem, "case, punctuation" in found[1].problem] == [True, True]
    assert found[0].numbers == {"rows": 700, "share": round(700 / 4200, 4)}
    assert found[1].numbers == {"rows": 300, "share": 0.15}


def test_one_text_under_two_labels_is_enough() -> None:
    """Contradicting labels are told however few they are."""
    found = only(duplicates(planned(data=some_data(conflicting=2))))
    assert "2 rows of reviews have a text that also stands under another label" in found.problem


def test_leaks_that_were_removed_are_a_note_and_those_still_there_a_warning() -> None:
    """Exact overlap was left out of training; near overlap is still in the score, and its share is."""
    data = some_data(overlap={"test": 40, "validation": 0}, leaks={"test": 50, "validation": 1})
    found = {item.problem: item for item in leaks(planned(data=data))}
    assert found["40 training rows of reviews also stand in its test file"].level == "note"
    near = next(item for problem, item in found.items() if problem.startswith("50 test rows"))
    assert (near.level, near.numbers) == ("warn", {"rows": 50, "share": 0.05})
