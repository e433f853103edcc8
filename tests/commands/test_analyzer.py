"""``emobench analyze`` from the command line: what it prints, writes, keeps and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from emobench.catalogue.model_rows import find_model
from emobench.cli import app
from emobench.commands.analyzer import training_time
from emobench.data.analyze import cache
from emobench.estimate.flops import forward_flops
from emobench.estimate.time import FACTOR, Rates


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine reaches: measured by whichever test asks first."""
    return tmp_path_factory.mktemp("ceilings")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rates: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ceilings").symlink_to(rates)
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def analyze(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["analyze", *arguments], catch_exceptions=False)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    rows = [
        f'"A film, number {number}, with {"much " * (number % 40)}to say [red]",{number % 2}' for number in range(300)
    ]
    path.write_text("review,sentiment\n" + "\n".join([*rows, rows[0], "too,many,fields"]) + "\n")
    return path


@pytest.mark.slow
def test_the_report_holds_every_section_in_eighty_columns(reviews: Path) -> None:
    """Plain text without color codes, no line over 80 columns, and every part of the analysis."""
    result = analyze("reviews.csv", "--no-language")
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "reviews.csv: 301 documents",
        "Could not be read",
        "reviews.csv:302",
        "3 fields where the header has 2",
        "Lengths in tokens",
        "Labels",
        "Quality",
        "Repetitions",
        "Vocabulary",
        "Time of training",
        "What it can be used for",
    ):
        assert part in text, part


@pytest.mark.slow
def test_the_file_holds_the_whole_analysis(reviews: Path, tmp_path: Path) -> None:
    """JSON with every section; the tokens are those the model's own tokenizer counts."""
    from emobench.models.load import load_tokenizer

    file = tmp_path / "out" / "a.json"
    assert analyze("reviews.csv", "--no-language", "--json", str(file)).exit_code == 0
    found = json.loads(file.read_bytes())
    assert set(found["sections"]) == {"lengths", "labels", "kind", "quality", "duplicates", "vocabulary"}
    tokenizer = load_tokenizer(find_model("all-minilm-l6-v2"))
    texts = [f"A film, number {number}, with {'much ' * (number % 40)}to say [red]" for number in [*range(300), 0]]
    assert found["sections"]["lengths"]["tokens"]["value"] == sum(len(ids) for ids in tokenizer(texts)["input_ids"])
    assert found["sections"]["duplicates"]["exact"]["count"] == 1
    assert found["sections"]["labels"]["classes"][0] == {"label": "0", "count": 151, "of": 301, "share": 151 / 301}
    assert found["source"]["guessed"] == ["text", "label"]
    assert found["faults"]["count"] == 1


@pytest.mark.slow
def test_the_second_time_it_comes_from_the_cache(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same content is read once; changed content, another option or a broken cache is read anew."""
    made: list[dict[str, Any]] = []

    def origin(*options: str) -> str:
        file = tmp_path / "a.json"
        result = analyze("reviews.csv", "--no-language", "--json", str(file), *options)
        assert result.exit_code == 0, result.output
        made.append(json.loads(file.read_bytes()))
        return str(made[-1].pop("cache"))

    assert origin() == "made"
    assert origin() == "cache"
    assert made[0] == made[1]
    assert origin("--no-cache") == "made"
    assert origin("--contexts", "16") == "made"
    assert origin("--label", "review") == "made"
    [kept] = [path for path in (tmp_path / "cache" / "analysis").iterdir() if path.stat().st_mtime_ns][:1]
    for kept in (tmp_path / "cache" / "analysis").iterdir():
        kept.write_bytes(kept.read_bytes()[:-1])
    assert origin() == "made again"
    assert origin() == "cache"
    reviews.write_text(reviews.read_text() + "one more,1\n")
    assert origin() == "made"
    assert made[-1]["source"]["documents"] == 302


@pytest.mark.slow
def test_a_sample_says_that_it_is_one(reviews: Path) -> None:
    """Documents of how many, the seed, and brackets behind the figures."""
    result = analyze("reviews.csv", "--no-language", "--sample", "50", "--seed", "3")
    first = result.stdout.splitlines()[0]
    assert "a sample of" in first
    assert "of 301 documents" in first
    assert "50 %, seed 3; intervals in brackets are 95 %" in result.stdout
    assert "Within the sample only" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["nowhere.csv"], "'nowhere.csv' is neither a file, nor a folder, nor a data set; ", 2),
        (
            ["reviews.csv", "--sample", "3"],
            "a sample of 3 %; a sample has 5 to 100 % of the documents; take --sample",
            2,
        ),
        (["reviews.csv", "--contexts", "a,5"], "--contexts a,5; 'a' is not a whole number; as 128,512,2048", 2),
        (["reviews.csv", "--contexts", "0"], "--contexts 0; a context has at least one token; name tokens, as 512", 2),
        (["reviews.csv", "--unit", "page"], "--unit page; a document is a file or a line; take auto, file or line", 2),
        (["reviews.csv", "--model", "nothing"], "unknown model 'nothing'; known are ", 2),
        (
            ["reviews.csv", "--text", "body"],
            "reviews.csv has no column 'body'; its columns are 'review', 'sentiment'",
            1,
        ),
        (["empty.json"], "empty.json is empty; it has no rows; fill it, or name another file", 1),
    ],
)
def test_wrong_input_is_one_line_in_three_parts(
    reviews: Path, tmp_path: Path, arguments: list[str], text: str, code: int
) -> None:
    """Exit code 2 for an option, 1 for data; no traceback."""
    (tmp_path / "empty.json").write_bytes(b"")
    result = analyze(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith(text)
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_named(reviews: Path, tmp_path: Path) -> None:
    """The analysis is printed all the same."""
    (tmp_path / "file").write_text("")
    result = analyze("reviews.csv", "--no-language", "--json", str(tmp_path / "file" / "a.json"))
    assert result.exit_code == 2
    assert "Lengths in tokens" in result.stdout
    assert "--json: " in result.stderr
    assert "cannot be written" in result.stderr


def test_the_time_of_training_is_that_of_the_estimate() -> None:
    """Twice the documents take twice as long, the head least; the rate is this machine's."""
    model = find_model("all-minilm-l6-v2")
    rates = Rates(flops_per_second=1e11, bytes_per_second=1e10, seconds_per_operator=1e-6)

    def time(tokens: int) -> dict[str, Any]:
        contexts = [{"context": min(512, model.context), "tokens_kept_share": 0.5}]
        lengths = {"tokens": {"value": tokens}, "tokens_per_document": {"mean": 100.0}, "contexts": contexts}
        return training_time(lengths, model, "cpu", rates)

    once, twice = time(320_000), time(640_000)
    assert once["tokens_per_epoch"] == 160_000
    for method, seconds in once["epoch_seconds"].items():
        assert twice["epoch_seconds"][method] == pytest.approx(2 * seconds)
    assert once["epoch_seconds"]["head"] < min(once["epoch_seconds"]["lora"], once["epoch_seconds"]["full"])
    # Three forward passes of 50 tokens a document, at the matrix rate alone.
    assert once["epoch_seconds"]["full"] > 3 * forward_flops(model, 160_000) / 1e11
    assert (once["rate"], once["uncertainty_factor"]) == ("measured on this machine", FACTOR)


def test_the_key_covers_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the code never takes an old analysis."""
    first = cache.cache_key("content", {})
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert cache.cache_key("content", {}) != first
