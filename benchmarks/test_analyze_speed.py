"""What analyzing data costs: against the tokenizers library alone, and in memory on files of growing size.

Ratios are of runs in turn within one test. These are slow and no cases of their own: run them with
``pytest benchmarks/test_analyze_speed.py --emo-slow``.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.say import Say

if TYPE_CHECKING:
    from emobench.data.analyze.passes import Pass

pytestmark = pytest.mark.slow

REVIEWS = {"imdb-train": 4000, "rotten_tomatoes-train": 8000}
SIZES = {"long": "imdb-train", "medium": "imdb-train", "short": "rotten_tomatoes-train"}
"""Whole reviews of 315 tokens on average, their first 500 characters, and reviews of 27 tokens."""
ROUNDS = 5
LEAST_RATE, MOST_ADDED = 0.9, 1.3
MEMORY_GROWTH_BYTES = 200_000_000
"""Most that the peak may grow from a 20 MB file to any larger one: what a batch takes varies, the file's size does not
come into it."""


def reviews() -> dict[str, list[str]]:
    """Packaged reviews by data set, as their files have them."""
    from emobench.catalogue.datasets import find_dataset
    from emobench.data.sources import read_rows

    found = {}
    for name, rows in REVIEWS.items():
        raw = read_rows(find_dataset(name))["train"]
        found[name] = [text for text in raw.texts[:rows] if text]
    return found


def write_lines(path: Path, texts: Iterator[str] | list[str]) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        for text in texts:
            stream.write(json.dumps({"text": text, "label": "1"}) + "\n")
    return path


def tokenizer() -> Any:
    from emobench.catalogue.model_rows import find_model
    from emobench.models.load import load_tokenizer

    return load_tokenizer(find_model("all-minilm-l6-v2")).backend_tokenizer


def analysis(path: Path, backend: Any, passes: list[Pass]) -> Any:
    from emobench.data.analyze.core import analyze
    from emobench.data.analyze.lengths import TokenCounter
    from emobench.data.document_sources import find_source

    counter = TokenCounter(backend)
    return analyze(find_source(str(path), {}), passes=passes, tokenizer=counter, tokenizer_name="all-minilm-l6-v2")


def all_passes(path: Path) -> list[Pass]:
    """Every question but the language."""
    from emobench.catalogue.model_rows import find_model
    from emobench.commands.analyzer import AnalyzeOptions, passes_for
    from emobench.data.document_sources import find_source

    options = AnalyzeOptions(given=str(path), language=False)
    return passes_for(options, find_source(str(path), {}), find_model("all-minilm-l6-v2"), None)


Seconds = dict[str, list[float]]


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds of each call by the clock and of the processor, the calls taking turns; a first turn is thrown away."""
    wall: Seconds = {name: [] for name in calls}
    processor: Seconds = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            started, used = time.perf_counter(), time.process_time()
            call()
            if turn:
                wall[name].append(time.perf_counter() - started)
                processor[name].append(time.process_time() - used)
    return wall, processor


def median_ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


@pytest.mark.parametrize("size", SIZES)
def test_speed_against_the_library(size: str, benchmark: Any, tmp_path: Path, say: Say) -> None:
    """Counting a file's tokens at 90 % or more of the rate of one ``encode_batch`` call on texts already in memory, and
    all else (language apart) at no more than 30 % on top; counts and repetitions are those of a plain reading.
    """
    from emobench.data.analyze.lengths import Lengths

    texts = [text[:500] if size == "medium" else text for text in reviews()[SIZES[size]]]
    path = write_lines(tmp_path / "reviews.jsonl", texts)
    backend = tokenizer()
    backend.no_truncation()
    backend.no_padding()
    lengths: list[Lengths] = []
    found: list[Any] = []

    def counting() -> None:
        lengths.append(Lengths())
        analysis(path, backend, [lengths[-1]])

    calls: dict[str, Callable[[], Any]] = {
        "library": lambda: backend.encode_batch(texts),
        "library, fast": lambda: backend.encode_batch_fast(texts),
        "counting": counting,
        "everything": lambda: found.append(analysis(path, backend, all_passes(path))),
    }
    taken: list[tuple[Seconds, Seconds]] = []
    benchmark.pedantic(lambda: taken.append(in_turn(calls, ROUNDS)), rounds=1)
    counts = Counter(len(encoding) for encoding in backend.encode_batch(texts))
    tokens = sum(length * count for length, count in counts.items())
    assert lengths[-1].counts == counts
    sections = found[-1].sections
    assert sections["lengths"]["tokens"]["value"] == tokens
    assert sections["duplicates"]["exact"]["count"] == len(texts) - len({text.strip() for text in texts})
    say(f"{size}: {len(texts):,} texts, {tokens:,} tokens; counts and repetitions equal")
    for clock, seconds in zip(("clock", "processor"), taken[0], strict=True):
        rate = median_ratio(seconds["library"], seconds["counting"])
        fast = median_ratio(seconds["library, fast"], seconds["counting"])
        added = median_ratio(seconds["everything"], seconds["counting"])
        met = (rate >= LEAST_RATE, fast >= LEAST_RATE, added <= MOST_ADDED)
        verdicts = ["met" if one else "MISSED" for one in met]
        say(
            f"by the {clock}: counting at {rate:.2f} of encode_batch's rate (target {LEAST_RATE}: {verdicts[0]}) and "
            f"{fast:.2f} of encode_batch_fast's ({verdicts[1]}); everything but language takes {added:.2f} of counting "
            f"(target {MOST_ADDED}: {verdicts[2]})",
        )
        values = {"rate_of_encode_batch": rate, "rate_of_fast": fast, "everything_over_counting": added}
        benchmark.extra_info.update({f"{clock}_{name}": value for name, value in values.items()})


CHILD = """
import resource, sys, json
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from benchmarks import test_analyze_speed as here
backend = here.tokenizer()
path = Path(sys.argv[2])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
found = here.analysis(path, backend, here.all_passes(path))
print(json.dumps({"growth": peak() - before, "documents": found.source["documents"],
    "tokens": found.sections["lengths"]["tokens"]["value"], "near": found.sections["duplicates"]["near"]["count"]}))
"""


def changed_reviews(target_bytes: int) -> Iterator[str]:
    """Reviews again and again, a word in eight replaced, until their bytes are enough."""
    rng = random.Random(0)
    written = 0
    texts = [text for part in reviews().values() for text in part]
    for text in cycle(texts):
        words = text.split()
        for place in range(rng.randrange(8), len(words), 8):
            words[place] = f"w{rng.randrange(10**6)}"
        changed = " ".join(words)
        written += len(changed.encode()) + 30
        yield changed
        if written >= target_bytes:
            return


def peak_growth(path: Path) -> dict[str, Any]:
    """What a process of its own says of analyzing a file."""
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", CHILD, root, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("megabytes", [200, 2000], ids=["200MB", "2GB"])
def test_memory_is_flat(megabytes: int, benchmark: Any, tmp_path: Path, say: Say) -> None:
    """The peak of resident memory grows no more on a large file than on one of 20 MB, all questions asked."""
    small = write_lines(tmp_path / "small.jsonl", changed_reviews(20_000_000))
    large = write_lines(tmp_path / "large.jsonl", changed_reviews(megabytes * 1_000_000))
    first = peak_growth(small)
    found: dict[str, Any] = {}
    benchmark.pedantic(lambda: found.update(peak_growth(large)), rounds=1)
    size = large.stat().st_size
    large.unlink()
    more = found["growth"] - first["growth"]
    verdict = "met" if more <= MEMORY_GROWTH_BYTES else "MISSED"
    say(f"{size / 1e6:,.0f} MB, {found['documents']:,} documents, {found['tokens']:,} tokens")
    say(
        f"peak {found['growth'] / 1e6:,.0f} MB above the start, on 20 MB {first['growth'] / 1e6:,.0f} MB: "
        f"{more / 1e6:+,.0f} MB (target at most {MEMORY_GROWTH_BYTES / 1e6:,.0f} MB: {verdict})",
    )
    benchmark.extra_info.update({"bytes": size, "peak_growth_bytes": found["growth"], "small_growth": first["growth"]})
    assert more <= MEMORY_GROWTH_BYTES
