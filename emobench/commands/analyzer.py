"""What ``emobench analyze`` does: finds the data and a tokenizer, asks every question in one pass, keeps the answer.

Nothing is downloaded unless that is asked for, and no model is loaded.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.catalogue.datasets import DATASETS, RANDOM_TOKENS
from emobench.catalogue.methods import find_method
from emobench.catalogue.profiles import find_profile
from emobench.commands.lists import why_absent
from emobench.commands.project_place import Place
from emobench.errors import NotOnMachineError, SpecError, UnsupportedError
from emobench.estimate.time import FACTOR, Rates, TimeEstimate, case_seconds
from emobench.kinds import FINETUNE
from emobench.specs import CaseSpec, DeviceKind, MethodSpec, ModelSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from emobench.data.analyze.core import Analysis
    from emobench.data.analyze.passes import Pass
    from emobench.data.analyze.sample import Sampler
    from emobench.data.document_sources import Source, Unit

DEFAULT_MODEL = "all-minilm-l6-v2"
TRAINED_LENGTH = 512
"""Tokens at which texts are cut for the time estimate, or the model's context where that is shorter."""
TRAINED = ("head", "full", "lora")
"""Methods that the time estimate is given for."""


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions:
    """What a user asked for."""

    given: str
    """Path or data set."""
    model: str | None = None
    text: Sequence[str] = ()
    label: str | None = None
    encoding: str | None = None
    unit: str = "auto"
    sample: float = 100.0
    seed: int = 0
    contexts: Sequence[int] = ()
    language: bool = True
    cache: bool = True
    download: bool = False
    """Whether a data set that is not here is asked for from the hub."""


def analysis_of(
    options: AnalyzeOptions, place: Place, *, device: DeviceKind | None = None, say: Callable[[str], None]
) -> dict[str, Any]:
    """The analysis with recommendations and a time estimate on ``device``, else on the best here, as plain values.

    Raises:
        SpecError: an option that means nothing, or neither a path nor a data set.
        NotOnMachineError: the data or every tokenizer is absent.
        DataError: nothing can be read.
    """
    from emobench.calibration.time import machine_rates
    from emobench.data.analyze.recommend import recommendations
    from emobench.data.document_sources import find_source

    if options.download:
        fetch_absent(options.given, place, say)
    source = find_source(
        options.given,
        place.datasets,
        text=options.text,
        label=options.label,
        encoding=options.encoding,
        unit=_unit(options.unit),
    )
    model = model_for(options, place)
    found, origin = _kept_or_made(options, source, model, say)
    content = found.to_json()
    content["cache"] = origin
    # Told here, because asking takes seconds in which nothing would be seen of the reading.
    device = device or best_device()
    content["training_time"] = training_time(
        content["sections"]["lengths"], model, device, machine_rates(device, "fp32", say=say)
    )
    content["recommendations"] = recommendations(
        content["sections"], tokenizer=model.id, models=place.models, sample=content["sample"]
    )
    return content


def fetch_absent(given: str, place: Place, say: Callable[[str], None]) -> None:
    """Download the data set of this name where it is not here; a path that exists is left alone.

    Raises:
        SpecError: a row of the table that is not downloaded.
        FetchError: no permission, no such data set, no file that can be read, or no connection.
    """
    from emobench.data.fetch import fetch_dataset
    from emobench.data.hub_files import fetch_files, fetched_files, is_hub_name
    from emobench.data.sources import is_here

    if Path(given).expanduser().exists():
        return
    by_hub = {row.location: row for row in place.datasets.values() if row.source == "hub"}
    row = place.datasets.get(given) or by_hub.get(given)
    if row is not None:
        if is_here(row) is not None:
            fetch_dataset(row, progress=say)
    elif is_hub_name(given) and fetched_files(given) is None:
        fetch_files(given, progress=say)


def _unit(name: str) -> Unit:
    units: dict[str, Unit] = {"auto": "auto", "file": "file", "line": "line"}
    if name in units:
        return units[name]
    raise SpecError(f"--unit {name}", why="a document is a file or a line", fix="take auto, file or line")


def model_for(options: AnalyzeOptions, place: Place) -> ModelSpec:
    """The model whose tokenizer counts: the one named, else the default, else the first one that is here."""
    if options.model is not None:
        return place.find_model(options.model)
    ordered = sorted(place.models.values(), key=lambda row: row.id != DEFAULT_MODEL)
    chosen = next((row for row in ordered if why_absent(row) is None), None)
    if chosen is None:
        raise NotOnMachineError(
            "no tokenizer is on this machine",
            why="tokens are counted with a model's own tokenizer, and no model of the table is here",
            fix='run: pip install "emobench[offline]", or emobench fetch one of emobench models',
        )
    return chosen


def _kept_or_made(
    options: AnalyzeOptions, source: Source, model: ModelSpec, say: Callable[[str], None]
) -> tuple[Analysis, str]:
    """The analysis, and ``cache``, ``made`` or ``made again`` (what was kept is broken)."""
    from emobench.data.analyze.cache import cache_key, content_digest, kept_path, load, store
    from emobench.data.analyze.sample import Sampler
    from emobench.files import cache_folder

    sampler = Sampler(options.sample, seed=options.seed)
    if not options.cache:
        return _made(options, source, model, sampler, say), "made"
    folder = cache_folder("analysis")
    digest = content_digest(source.files, [source.name_of(path) for path in source.files])
    key = cache_key(digest, _deciding(options, source, model))
    found = load(folder, key)
    if found is not None:
        return found, "cache"
    again = kept_path(folder, key).exists()
    made = _made(options, source, model, sampler, say)
    store(folder, key, made)
    return made, "made again" if again else "made"


def _deciding(options: AnalyzeOptions, source: Source, model: ModelSpec) -> dict[str, Any]:
    """Everything besides the files that decides an analysis."""
    from importlib.metadata import PackageNotFoundError, version

    from emobench.models.locate import locate

    located = locate(model)
    tokenizer = located.path / "tokenizer.json"
    try:
        lingua = version("lingua-language-detector")
    except PackageNotFoundError:
        # With the package the analysis would tell more.
        lingua = "absent"
    return {
        "source": source.options(),
        "name": source.name,
        "model": model.id,
        "tokenizer": _sha256(tokenizer) if tokenizer.is_file() else located.revision,
        "tokenizers": version("tokenizers"),
        "sample": options.sample,
        "seed": options.seed if options.sample < 100 else None,
        "contexts": contexts_for(options, model),
        "language": lingua if options.language else "not asked for",
    }


def _sha256(path: Path) -> str:
    from emobench.files import sha256_of

    return sha256_of(path)


def _made(
    options: AnalyzeOptions, source: Source, model: ModelSpec, sampler: Sampler, say: Callable[[str], None]
) -> Analysis:
    from emobench.commands.reading_progress import ReadingProgress
    from emobench.data.analyze.core import analyze
    from emobench.data.analyze.lengths import TokenCounter

    sampled = sampler if options.sample < 100 else None
    with ReadingProgress(say) as progress:
        return analyze(
            source,
            passes=passes_for(options, source, model, sampled),
            tokenizer=TokenCounter(load_backend(model)),
            tokenizer_name=model.id,
            sampler=sampled,
            watch=progress,
        )


def load_backend(model: ModelSpec) -> Tokenizer:
    """What the model's own tokenizer counts with; no weights are loaded."""
    from transformers import AutoTokenizer

    from emobench.models.library_output import quiet_transformers
    from emobench.models.locate import locate

    with quiet_transformers():
        loaded: Any = AutoTokenizer
        tokenizer = loaded.from_pretrained(locate(model).path, trust_remote_code=False)
    backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedError(
            f"the tokenizer of {model.id!r} cannot count",
            why=f"{type(tokenizer).__name__} is not backed by the tokenizers library",
            fix="name a model with a tokenizer.json with --model",
        )
    return backend


def contexts_for(options: AnalyzeOptions, model: ModelSpec) -> list[int]:
    """Contexts that the share of truncated documents is given for; the model's own and that of training are there.

    Raises:
        SpecError: a context below one token.
    """
    from emobench.data.analyze.lengths import CONTEXTS

    asked = list(options.contexts) or list(CONTEXTS)
    for context in asked:
        if context < 1:
            raise SpecError(f"--contexts {context}", why="a context has at least one token", fix="name tokens, as 512")
    return sorted({*asked, model.context, min(TRAINED_LENGTH, model.context)})


def passes_for(options: AnalyzeOptions, source: Source, model: ModelSpec, sampler: Sampler | None) -> list[Pass]:
    """Every question that is asked of the documents; the detectors of words share one scan of each batch."""
    from emobench.data.analyze.duplicates import Duplicates
    from emobench.data.analyze.kinds import Kinds
    from emobench.data.analyze.labels import Labels
    from emobench.data.analyze.language import Language
    from emobench.data.analyze.lengths import Lengths
    from emobench.data.analyze.quality import Quality
    from emobench.data.analyze.scan import Scanner
    from emobench.data.analyze.vocabulary import Vocabulary

    scanner = Scanner()
    passes: list[Pass] = [
        Lengths(contexts=contexts_for(options, model), sampler=sampler),
        Labels(),
        Kinds(columns=source.known_columns),
        Quality(scanner=scanner),
        Duplicates(scanner=scanner),
        Vocabulary(scanner=scanner),
    ]
    return [*passes, Language()] if options.language else passes


def training_time(lengths: Mapping[str, Any], model: ModelSpec, device: DeviceKind, rates: Rates) -> dict[str, Any]:
    """Seconds of one epoch over all documents by method, at the rates of this machine; with their uncertainty.

    Texts are cut at the training length. Validation and loading are not in it. An architecture whose operations are
    not known has none.
    """
    length = min(TRAINED_LENGTH, model.context)
    kept = next(entry["tokens_kept_share"] for entry in lengths["contexts"] if entry["context"] == length)
    whole, mean = lengths["tokens"]["value"], lengths["tokens_per_document"]["mean"]
    # Of a sample the number of all documents is an estimate.
    tokens, documents = whole * (kept or 0.0), max(1, round(whole / mean)) if mean else 1
    seconds: dict[str, float] = {}
    found: TimeEstimate | None = None
    for method in TRAINED:
        case = epoch_of(model, find_method(method), device, rows=documents)
        with contextlib.suppress(UnsupportedError):
            found = case_seconds(case, rates, mean_length=max(1.0, tokens / documents))
            seconds[method] = found.parts["train"]
    return {
        "model": model.id,
        "device": device,
        "max_length": length,
        "tokens_per_epoch": tokens,
        "flops_per_second": rates.flops_per_second,
        "rate": "measured on this machine",
        "uncertainty_factor": FACTOR if found is None else found.factor,
        "epoch_seconds": seconds,
    }


def epoch_of(model: ModelSpec, method: MethodSpec, device: DeviceKind, *, rows: int) -> CaseSpec:
    """A training case of one epoch over so many rows and nothing else, at the usual settings."""
    sizes = {"train": rows, "validation": 0, "test": 1, "epochs": 1, "max_length": min(TRAINED_LENGTH, model.context)}
    return CaseSpec(
        kind=FINETUNE,
        model=model,
        dataset=DATASETS[RANDOM_TOKENS],
        method=method,
        precision="fp32",
        device=device,
        profile=find_profile("quick").model_copy(update=sizes),
    )


def show_analysis(
    options: AnalyzeOptions,
    *,
    json_file: Path | None,
    html_file: Path | None,
    say: Callable[[str], None],
    put: Callable[[str], None],
) -> None:
    """Analyze, print the report, and write what was asked for; errors as :func:`analysis_of`."""
    import shutil
    import sys

    from emobench.commands.project_place import find_place
    from emobench.reports.analysis_text import analysis_text

    content = analysis_of(options, find_place(), say=say)
    terminal = sys.stdout.isatty()
    width = min(120, max(60, shutil.get_terminal_size().columns)) if terminal else 80
    put(analysis_text(content, width=width, color=terminal))
    if json_file is not None:
        write_json(json_file, content)
        say(f"written: {json_file}")
    if html_file is not None:
        from emobench.reports.analysis_page import analysis_page

        _write(html_file, analysis_page(content).encode(), option="--html")
        say(f"written: {html_file}")


def best_device() -> DeviceKind:
    """The device training would take: cuda, mps or cpu."""
    from emobench.devices import absent_reason

    kinds: tuple[DeviceKind, ...] = ("cuda", "mps")
    return next((kind for kind in kinds if absent_reason(kind) is None), "cpu")


def numbers_of(text: str | None) -> tuple[int, ...]:
    """Whole numbers separated by commas; errors name the one that is none."""
    found = []
    for part in (text or "").split(",") if text else []:
        if not part.strip().isdigit():
            raise SpecError(f"--contexts {text}", why=f"{part.strip()!r} is not a whole number", fix="as 128,512,2048")
        found.append(int(part))
    return tuple(found)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the analysis as one JSON object.

    Raises:
        SpecError: the path cannot be written.
    """
    _write(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n", option="--json")


def _write(path: Path, data: bytes, *, option: str) -> None:
    from emobench.files import write_bytes

    try:
        write_bytes(path, data)
    except OSError as error:
        raise SpecError(f"{option}: {path} cannot be written", why=str(error), fix="name another place") from error
