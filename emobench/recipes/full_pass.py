"""Evaluation cases: the rows a case streams, the classifier it evaluates on them, and where the answers go.

The pass itself is ``evaluation.stream``'s, its clock the case's.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.cases.checks import check_running
from emobench.catalogue.combinations import is_allowed
from emobench.catalogue.datasets import DATASETS
from emobench.catalogue.methods import find_method
from emobench.devices import autocast_dtype
from emobench.errors import SpecError
from emobench.evaluation.label_map import fold, map_classes
from emobench.kinds import FINETUNE
from emobench.specs import DatasetSpec, ModelSpec, Precision

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.data.encode import Encoded
    from emobench.data.material import Material
    from emobench.data.stream import RowStream, Window
    from emobench.data_profile import DataProfile
    from emobench.evaluation.stream import Fold, Keep, Pilot, Streamed
    from emobench.models.load import LoadedModel
    from emobench.outcomes import FitOutcome

SMOKE_PILOT_TOKENS = 2048
"""Tokens of a smoke run's pilot: it proves the path."""
TRACED_ROWS = 64
"""Rows that a trace of answers takes."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What an evaluation case reads; tokens are made as the windows are taken."""

    class_names: tuple[str, ...]
    """The data set's, in which answers are scored."""
    total: int
    """About how many rows there are; for progress."""
    sample: Encoded
    """Rows for the pilot."""
    windows: Callable[[], Iterator[Window]]
    """All rows, from the beginning."""
    arguments: Mapping[str, Any]
    """``device``, ``pad_id`` and ``padding_side``, for the pilot and the pass."""
    stream: RowStream | None
    """Where the windows come from; None where tokens are drawn."""
    fold: Fold | None = None
    """From the model's classes to the data set's, where they differ."""
    training: Material | None = None
    """What a model without a head is trained on; these rows are not among the windows."""


def full_pass(case: Case) -> None:
    """Stream every row once at the token budget a pilot found best; reading to writing is inside the time.

    A model without a classifier's head is trained before, at the profile's size; rows it saw are left out.
    """
    from emobench.evaluation.stream import evaluate_stream

    rows = open_rows(case)
    ready = classifier(case, rows)
    budget = try_budgets(case, rows, ready).token_budget
    usual = {**rows.arguments, "fold": rows.fold, "token_budget": budget, "progress": showing(case, rows)}

    def evaluate(loaded: LoadedModel, seed: int) -> Streamed:
        with writing_predictions(case, rows) as keep:
            return evaluate_stream(loaded.model, rows.windows(), rows.class_names, keep=keep, **usual)

    (found,) = case.measure(evaluate, prepare=lambda seed: ready)
    keep_evaluation(case, rows, ready, found)
    trace_answers(case, rows, ready, budget)


def can_answer(model: ModelSpec, dataset: DatasetSpec) -> bool:
    """Whether a ready classifier's classes are just the data set's, by name; a model without classes gets its head."""
    if model.labels is None:
        return True
    try:
        found = map_classes(model.labels, dataset.labels, {}, checkpoint=model.id, data=dataset.id)
    except SpecError:
        return False
    return found.names == dataset.labels


def open_rows(case: Case) -> Rows:
    """What the case reads: random tokens for random weights, every row for a ready classifier, else the held-out ones.

    At profile smoke the stream ends after the profile's test rows.

    Every check is asked of the case before its model is loaded; see :func:`emobench.cases.checks.check_running`.

    Raises:
        NotOnMachineError, SpecError, DataError: as :func:`emobench.data.prepare.load_splits`; also a ready classifier
            whose classes are not the data set's.
    """
    if case.spec.weights == "random":
        check_running(case, None)
        return _random_rows(case)
    if case.spec.model.labels is None:
        return _held_out_rows(case)
    return _all_rows(case)


def _random_rows(case: Case) -> Rows:
    from emobench.data.material import random_material
    from emobench.data.stream import random_windows

    profile, model = case.spec.profile, case.spec.model
    made = random_material(model, profile)
    case.data_fingerprint = made.fingerprint
    total = len(made.test)
    return Rows(
        class_names=made.class_names,
        total=total,
        sample=made.test,
        windows=partial(random_windows, model, profile, rows=total),
        arguments=_arguments(case, made.pad_id, made.padding_side),
        stream=None,
    )


def _all_rows(case: Case) -> Rows:
    model, dataset = case.spec.model, _dataset(case)
    assert model.labels is not None
    matched = map_classes(model.labels, dataset.labels, {}, checkpoint=model.id, data=dataset.id)
    if matched.names != dataset.labels:
        raise SpecError(
            f"model {model.id!r} has classes that data set {dataset.id!r} lacks",
            why=f"its classes are {', '.join(model.labels)} and the data set's are {', '.join(dataset.labels)}",
            fix="give the model's row the data set's class names, or take another data set",
        )
    case.note("a ready classifier may have been trained on rows of this data set; accuracy by split is in the details")
    check_running(case, _first_texts(case))
    return _streamed(case, fold=None if matched.is_identity else partial(fold, class_map=matched))


def _first_texts(case: Case) -> DataProfile:
    """What the first window shows of the data: of all rows it would take a pass of its own to know."""
    from emobench.data.splits_profile import profile_sample
    from emobench.data.stream import WINDOW_ROWS, RowStream
    from emobench.models.load import load_tokenizer

    dataset = _dataset(case)
    tokenizer = load_tokenizer(case.spec.model, progress=case.progress.note)
    texts = [text for window in RowStream(dataset, limit=WINDOW_ROWS) for text in window.texts]
    return profile_sample(
        texts, tokenizer, dataset=dataset.id, class_names=dataset.labels, max_length=_max_length(case)
    )


def _held_out_rows(case: Case) -> Rows:
    from emobench.data.material import encode_splits
    from emobench.data.prepare import load_splits
    from emobench.data.splits_profile import profile_splits
    from emobench.data.stream import text_digest
    from emobench.models.load import load_tokenizer

    spec = case.spec
    splits = load_splits(_dataset(case), profile=spec.profile, seed=spec.train.split_seed)
    tokenizer = load_tokenizer(spec.model, progress=case.progress.note)
    material = encode_splits(splits, tokenizer, max_length=_max_length(case))
    case.details["training_data"] = material.facts
    data = profile_splits(splits, tokenizer, dataset=_dataset(case).id, max_length=_max_length(case), material=material)
    # More rows are streamed than were encoded here: the longest of them is not known.
    check_running(case, replace(data, longest_input=None))
    seen = frozenset(text_digest(text) for part in (splits.train, splits.validation) for text in part.texts)
    return _streamed(case, leave_out=seen, training=material)


def _streamed(
    case: Case,
    *,
    leave_out: frozenset[bytes] = frozenset(),
    fold: Fold | None = None,
    training: Material | None = None,
) -> Rows:
    from emobench.data.stream import WINDOW_ROWS, RowStream, encoded_windows
    from emobench.models.load import load_tokenizer

    profile, dataset = case.spec.profile, _dataset(case)
    tokenizer = load_tokenizer(case.spec.model, progress=case.progress.note)
    encoded = partial(encoded_windows, tokenizer=tokenizer, max_length=_max_length(case))
    limit = profile.test if profile.id == "smoke" else None
    stream = RowStream(dataset, leave_out=leave_out, limit=limit)
    first = RowStream(dataset, leave_out=leave_out, limit=min(WINDOW_ROWS, limit or WINDOW_ROWS))
    return Rows(
        class_names=dataset.labels,
        total=min(dataset.rows, limit or dataset.rows),
        sample=next(encoded(first)).encoded,
        windows=lambda: encoded(stream),
        arguments=_arguments(case, int(tokenizer.pad_token_id or 0), case.spec.model.padding_side),
        stream=stream,
        fold=fold,
        training=training,
    )


def _dataset(case: Case) -> DatasetSpec:
    assert case.spec.dataset is not None
    return case.spec.dataset


def _max_length(case: Case) -> int:
    return min(case.spec.profile.max_length, case.spec.model.context)


def _arguments(case: Case, pad_id: int, padding_side: str) -> dict[str, Any]:
    return {"device": case.spec.device, "pad_id": pad_id, "padding_side": padding_side}


def classifier(case: Case, rows: Rows) -> LoadedModel:
    """The model in the form it is deployed in: a ready one as it is, another one trained first, untimed.

    Training is method ``full`` at the profile's sizes with the first seed; the model is saved and loaded again, which
    casts or quantizes its weights to the case's precision.
    """
    from emobench.models.load import load_classifier

    spec = case.spec
    load = partial(load_classifier, spec.model, device=spec.device, progress=case.progress.note)
    if rows.training is None:
        names = spec.model.labels if spec.weights == "pretrained" and spec.model.labels else rows.class_names
        sizes: dict[str, Any] = {
            "num_labels": len(names),
            "class_names": names,
            "precision": spec.precision,
            "device": spec.device,
        }
        found = case.shared(load_classifier, spec.model, **sizes)
        return found or case.share(load(**sizes, weights=spec.weights), load_classifier, spec.model, **sizes)
    precision = _training_precision(case)
    trained = load(
        num_labels=len(rows.class_names),
        class_names=rows.class_names,
        method=find_method("full"),
        precision=precision,
        seed=spec.seeds[0],
    )
    fitted = _fit(case, trained, rows.training, precision)
    case.details["training"] = [{"seed": spec.seeds[0], "precision": precision, "steps": fitted.steps}]
    case.add([item for item in fitted.metrics() if item.name in ("train_seconds", "train_steps", "train_loss")])
    return _reloaded(trained, spec.precision)


def _training_precision(case: Case) -> Precision:
    spec = case.spec
    if is_allowed(FINETUNE, "full", spec.precision, spec.device):
        return spec.precision
    case.note(f"trained in fp32: {spec.precision} weights are for inference here")
    return "fp32"


def _fit(case: Case, trained: LoadedModel, material: Material, precision: Precision) -> FitOutcome:
    from emobench.evaluation.labels import predict
    from emobench.training.fit import fit
    from emobench.training.plan import plan_for

    spec = case.spec.model_copy(update={"method": find_method("full"), "precision": precision})
    score = partial(
        predict,
        trained.model,
        material.validation,
        autocast_dtype=autocast_dtype(spec.precision),
        **_arguments(case, material.pad_id, material.padding_side),
    )
    plan = plan_for(spec, seed=spec.seeds[0], pad_id=material.pad_id, padding_side=material.padding_side)
    plan = case.with_checkpoints(plan)
    validate = (lambda _: {"accuracy": score().accuracy}) if len(material.validation) else None
    return fit(trained.model, material.train, plan, validate=validate, progress=case.progress.step)


def _reloaded(trained: LoadedModel, precision: Precision) -> LoadedModel:
    from emobench.models.save import reload_classifier, save_model

    with tempfile.TemporaryDirectory(prefix="emobench-") as name:
        save_model(trained, None, Path(name))
        return reload_classifier(Path(name), device=trained.device, precision=precision)


def try_budgets(case: Case, rows: Rows, loaded: LoadedModel) -> Pilot:
    """The pilot of the case: which token budget is fastest here; the figures go into the record."""
    from emobench.evaluation.stream import pilot

    profile = case.spec.profile
    sample_tokens = SMOKE_PILOT_TOKENS if profile.id == "smoke" else None
    found = pilot(
        loaded.model, rows.sample, seconds=profile.latency_seconds, sample_tokens=sample_tokens, **rows.arguments
    )
    case.details["pilot"] = found.facts()
    return found


@contextlib.contextmanager
def writing_predictions(case: Case, rows: Rows) -> Iterator[Keep | None]:
    """Yield what writes each window's answers beside the journal; None for random weights: they say nothing."""
    from emobench.records.predictions import streamed_predictions

    if rows.stream is None:
        yield None
        return
    seed = case.spec.seeds[0]
    path = case.folder / "predictions" / f"{case.file_name}-seed{seed}.parquet"
    digest = rows.stream.fingerprint
    with streamed_predictions(path, texts_digest=digest, seed=seed, class_names=rows.class_names) as append:
        yield lambda window, probabilities: append(window.encoded.labels, probabilities, window.positions.tolist())
    case.artifacts[f"predictions_seed{seed}"] = str(path.relative_to(case.folder))


def showing(case: Case, rows: Rows) -> Callable[[int, float], None]:
    """Progress of a pass: rows done and the accuracy so far."""
    return lambda done, accuracy: case.progress.show(done, max(done, rows.total), f"accuracy {accuracy:.3f}")


def trace_answers(case: Case, rows: Rows, loaded: LoadedModel, token_budget: int) -> None:
    """With ``--emo-trace``: profile the model's part of the pass on :data:`TRACED_ROWS` rows; quicker than all rows."""
    from emobench.data.encode import first_rows
    from emobench.evaluation.labels import predict

    sample = first_rows(rows.sample, TRACED_ROWS)
    case.trace(partial(predict, loaded.model, sample, token_budget=token_budget, **rows.arguments), label="evaluation")


def keep_evaluation(case: Case, rows: Rows, loaded: LoadedModel, found: Streamed) -> None:
    """Keep what the pass gave; quality of random weights is left out, it means nothing."""
    case.describe_model(loaded)
    random = case.spec.weights == "random"
    case.add([item for item in found.metrics if not random or item.name.startswith("evaluate_")])
    case.details["evaluation"] = {
        "rows": found.rows,
        "tokens": found.tokens,
        "windows": found.windows,
        "model_seconds": found.model_seconds,
        "kernels": dict(found.kernels),
    }
    if random or rows.stream is None:
        return
    case.details["evaluation"]["by_split"] = {name: dict(value) for name, value in found.by_split.items()}
    case.details["data"] = dict(rows.stream.facts())
    case.details["confusion"] = [list(row) for row in found.confusion]
    case.details["per_class"] = [dict(row) for row in found.per_class]
    parts = rows.stream.fingerprint() + (rows.training.fingerprint if rows.training else "")
    case.data_fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:32]
    _check(case, rows, found)


def _check(case: Case, rows: Rows, found: Streamed) -> None:
    """Every row was answered once, and a model trained here on enough rows beats naming the most frequent class."""
    assert rows.stream is not None
    facts = rows.stream.facts()
    assert found.rows == facts["rows"], f"{found.rows} of {facts['rows']} rows were answered"
    accuracy = next(item for item in found.metrics if item.name == "accuracy")
    learnable = rows.training is not None and len(rows.training.train) >= 1000 and _dataset(case).id in DATASETS
    if learnable and accuracy.ci is not None:
        majority = max(sum(row) for row in found.confusion) / found.rows
        assert accuracy.ci[0] > majority, f"accuracy {accuracy.value:.3f}, most frequent class {majority:.3f}"
