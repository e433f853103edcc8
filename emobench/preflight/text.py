"""Do the texts go with the model: their length, the tokenizer's pieces, repetitions and rows in two splits?

Every figure is measured on the data; a sampled one says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from emobench.data_profile import DataProfile
from emobench.preflight.planned import Finding, Fix, Planned, shown_share

NOTED_TRUNCATED = 0.01
"""Share of texts cut off from which it is mentioned."""
MUCH_TRUNCATED = 0.10
"""Share of texts cut off from which it is warned of: our choice; what is cut off may be what the label is about."""
ENOUGH_COVERED = 0.99
"""Share of whole texts that the proposed length covers."""

MUCH_UNKNOWN = 0.01
"""Share of unknown tokens from which texts lose content: our choice; tokenizers that fall back to bytes have none."""
PIECES_PER_WORD = 3.0
PIECES_PER_CHARACTER = 1.2
"""Pieces a word, or a character where white space does not separate words, from which a tokenizer was not made for the
language. Rust et al. (ACL 2021) tie more pieces a word to worse results; the two figures are our choice: English in its
own vocabulary has about 1.3, and more than one piece a character means that characters come apart into bytes."""
LONGEST_WORDS = 25.0
"""Mean characters a word beyond which white space does not separate words."""

MANY_REPEATED = 0.05
"""Share of repeated rows from which it is warned of: a file assembled twice, or texts without content. Our choice."""
MANY_LEAKED = 0.01
"""Share of a split's rows known from training from which it is warned of: one row in a hundred moves an accuracy by up
to a point, which is the limit of a usual gate."""


def truncation(planned: Planned) -> Iterator[Finding]:
    """``truncation``: the share of the texts that is cut off, and the length that would not."""
    data, case = planned.data, planned.case
    if data is None or data.share_truncated is None or data.max_length is None or case.weights == "random":
        return
    share, lengths = data.share_truncated, data.lengths
    if share < NOTED_TRUNCATED:
        return
    whole = (
        ""
        if lengths is None
        else f"; half of the texts have more than {lengths.p50:,} tokens, a hundredth more than {lengths.p99:,}"
    )
    sample = f" (of {lengths.texts:,} sampled texts)" if lengths is not None and lengths.sampled else ""
    yield Finding(
        check="truncation",
        level="warn" if share >= MUCH_TRUNCATED else "note",
        problem=f"{shown_share(share)} of the texts of {data.dataset} are longer than {data.max_length} tokens "
        f"under the tokenizer of {case.model.id}",
        why=f"what is beyond max_length is never read{whole}{sample}",
        numbers={
            "share_truncated": round(share, 4),
            "max_length": data.max_length,
            "context": case.model.context,
            **({} if lengths is None else {"p50": lengths.p50, "p90": lengths.p90, "p99": lengths.p99}),
        },
        fixes=tuple(longer(planned, data)),
    )


def longer(planned: Planned, data: DataProfile) -> Iterator[Fix]:
    """A length that covers what the context allows."""
    context, now = planned.case.model.context, data.max_length or 0
    wanted = 2 * now
    if data.lengths is not None:
        covering = [at for at, over in data.lengths.share_over.items() if over <= 1 - ENOUGH_COVERED]
        wanted = min(covering, default=context)
    length = min(wanted, context)
    if length > now:
        over = None if data.lengths is None else data.lengths.share_over.get(length)
        covered = "" if over is None else f", which cuts {shown_share(over)}" if over else ", which cuts none"
        yield Fix(
            text=f"take inputs of up to {length} tokens{covered}",
            trade_off=f"up to {length / max(now, 1):.2g} times the work and memory of a row",
            setting=f"--emo-set max_length={length}",
            changes={"max_length": length},
        )
    yield Fix(
        text="leave it where the beginning of a text decides its label",
        trade_off="the end of the longer texts is not read"
        + ("" if length > now else f"; {planned.case.model.id} takes {context} tokens at most"),
        setting="--emo-silence truncation",
    )


def tokenizer(planned: Planned) -> Iterator[Finding]:
    """``tokenizer``: unknown tokens, and words that come apart into many pieces."""
    data = planned.data
    if data is None:
        return
    model = planned.case.model.id
    instead = Fix(
        text="look which language it is, and take a model whose vocabulary was made for it",
        trade_off="another model has other results",
        setting=f"emobench analyze {data.dataset} --model {model}",
    )
    if data.unknown_share is not None and data.unknown_share >= MUCH_UNKNOWN:
        yield Finding(
            check="tokenizer",
            level="warn",
            problem=f"{shown_share(data.unknown_share)} of the tokens of {data.dataset} are unknown to the tokenizer "
            f"of {model}",
            why="an unknown token says nothing of what stood there",
            numbers={"unknown_share": round(data.unknown_share, 4)},
            fixes=(instead,),
        )
    found = pieces(data)
    if found is None:
        return
    rate, limit, unit = found
    if rate >= limit:
        yield Finding(
            check="tokenizer",
            level="warn",
            problem=f"the tokenizer of {model} makes {rate:.2g} tokens a {unit} of {data.dataset}",
            why=f"from {limit:g} on its vocabulary was not made for this language{spoken(data)}: texts get longer and "
            "their pieces mean less",
            numbers={f"tokens_per_{unit}": round(rate, 3), "limit": limit},
            fixes=(instead,),
        )


def pieces(data: DataProfile) -> tuple[float, float, str] | None:
    """Measured pieces a word or a character, the limit for it and which of the two; None where nobody measured."""
    word, character = data.tokens_per_word, data.tokens_per_character
    if word is None or character is None or character <= 0:
        return None
    if word / character > LONGEST_WORDS:
        return character, PIECES_PER_CHARACTER, "character"
    return word, PIECES_PER_WORD, "word"


def spoken(data: DataProfile) -> str:
    """The languages that were found, in brackets; nothing where nobody looked."""
    if not data.languages:
        return ""
    ordered = sorted(data.languages.items(), key=lambda item: -item[1])[:3]
    return f" ({', '.join(f'{name} {shown_share(share)}' for name, share in ordered)})"


def duplicates(planned: Planned) -> Iterator[Finding]:
    """``duplicates``: repeated rows, rows under two labels, and near repetitions within training."""
    data = planned.data
    if data is None:
        return
    look = f"emobench analyze {data.dataset}"
    rows = data.rows.get("train", 0)
    read = sum(data.rows.values()) + (data.duplicates or 0) + (data.conflicting or 0)
    if data.conflicting:
        yield Finding(
            check="duplicates",
            level="warn",
            problem=f"{data.conflicting:,} rows of {data.dataset} have a text that also stands under another label",
            why="no model can be right on both; all of them were left out",
            numbers={"conflicting": data.conflicting},
            fixes=(
                Fix(
                    text="look where they stand, and decide which label is right",
                    trade_off="work by hand, and more rows to learn from",
                    setting=look,
                ),
            ),
        )
    repeated = (data.duplicates or 0, "repeat another row", "the first of each was kept, the others were left out")
    near = (
        data.near_duplicates or 0,
        "differ from another training row in case, punctuation and white space only",
        "they are kept, and count twice",
    )
    for (count, what, why), total in ((repeated, read), (near, rows)):
        if total and count / total >= MANY_REPEATED:
            yield Finding(
                check="duplicates",
                level="warn",
                problem=f"{count:,} rows of {data.dataset} {what}",
                why=f"{why}; the data has fewer examples than rows",
                numbers={"rows": count, "share": round(count / total, 4)},
                fixes=(
                    Fix(
                        text="look where they come from",
                        trade_off="none: repetition adds nothing to learn",
                        setting=look,
                    ),
                ),
            )


def leaks(planned: Planned) -> Iterator[Finding]:
    """``leaks``: rows of validation or test that also stand in training, left out or still there."""
    data = planned.data
    if data is None:
        return
    for split, count in data.overlap.items():
        if count:
            yield Finding(
                check="leaks",
                level="note",
                problem=f"{count:,} training rows of {data.dataset} also stand in its {split} file",
                why="they were left out of training, so that the score is of unseen texts",
                numbers={"rows": count},
                fixes=(
                    Fix(
                        text="nothing is to be done but to silence it",
                        trade_off="published scores may include them",
                        setting="--emo-silence leaks",
                    ),
                ),
            )
    for split, count in data.leaks.items():
        share = count / max(1, data.rows.get(split, 0))
        if count:
            yield Finding(
                check="leaks",
                level="warn" if share >= MANY_LEAKED else "note",
                problem=f"{count:,} {split} rows of {data.dataset} differ from a training row in case, punctuation and "
                "white space only",
                why=f"{shown_share(share)} of the {split} score is of texts that were as good as seen",
                numbers={"rows": count, "share": round(share, 4)},
                fixes=(
                    Fix(
                        text="look which they are, and remove one of each pair from the files",
                        trade_off="the score may fall: it was too high",
                        setting=f"emobench analyze {data.dataset}",
                    ),
                ),
            )
