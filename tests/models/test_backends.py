"""Backends against eager: equal logits, and every quiet way of being something else than asked for is an error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emobench.catalogue import backends as catalogue
from emobench.errors import (
    ChangedAnswersError,
    DoesNotFitError,
    EmoBenchError,
    MissingExtraError,
    UnsupportedError,
)
from emobench.models import attention, backends, compiled, onnx_export, onnx_session
from emobench.models.backends import check_answers, check_inputs, prepare_backend
from emobench.models.load import LoadedModel, load_classifier
from tests.models.models_under_test import HEAD, MINILM, NAMES, two_layers

SHAPES = ((1, 1), (1, 7), (3, 12), (5, 40))
"""Rows and tokens: longer and shorter than the traced example and than the tiny models' attention window of 4."""


SLOW = ("distilbert-base", "roberta-base", "tinyllama-1.1b", "qwen2.5-1.5b", "gemma-2-2b", "phi-3-mini")
"""Each export takes some seconds."""


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves an export or compiled code elsewhere."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    """A one-layer BERT with random weights."""
    spec = two_layers("all-minilm-l6-v2")
    one_layer = spec.model_copy(update={"config": {**spec.config, "num_hidden_layers": 1}})
    return load_classifier(one_layer, num_labels=2, class_names=NAMES, weights="random")


@pytest.fixture(scope="module")
def tiny_export(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export, made once."""
    folder = tmp_path_factory.mktemp("export")
    onnx_export.write_export(tiny, folder)
    return folder


@pytest.fixture
def no_export(tiny_export: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Exporting copies the one that is there; gives the folders written to."""
    written: list[Path] = []

    def copy(loaded: LoadedModel, folder: Path) -> onnx_export.Exported:
        written.append(folder)
        shutil.copytree(tiny_export, folder)
        return onnx_export.Exported(path=folder / "model.onnx", bytes_on_disk=1, seconds=1.0)

    monkeypatch.setattr(onnx_export, "write_export", copy)
    monkeypatch.setattr(backends, "write_export", copy)
    return written


def pretrained(loaded: LoadedModel) -> LoadedModel:
    """The same model under the name of a pretrained one, whose exports are kept."""
    return replace(loaded, weights="pretrained", revision="abc")


@contextmanager
def changed(loaded: LoadedModel, by: float) -> Iterator[None]:
    """One weight of the classifier's head moved inside the block."""
    weight = next(parameter for name, parameter in loaded.model.named_parameters() if "classifier.weight" in name)
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] += by
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


def assert_equal_at_every_shape(loaded: LoadedModel, call: compiled.Call) -> None:
    eager = prepare_backend(loaded, "eager", rows=1, length=1)
    for rows, length in SHAPES:
        for inputs in check_inputs(loaded, rows, length):
            torch.testing.assert_close(call(*inputs), eager.call(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model_id",
    [
        "gemma-3-270m",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in SLOW),
    ],
)
def test_onnxruntime_answers_like_eager(model_id: str) -> None:
    """ONNX Runtime gives eager's logits at every shape and padding, for decoders padded left and windowed attention."""
    loaded = load_classifier(two_layers(model_id), num_labels=2, class_names=NAMES, weights="random")
    with prepare_backend(loaded, "onnxruntime", rows=3, length=12) as prepared:
        assert_equal_at_every_shape(loaded, prepared.call)
        assert prepared.seconds > prepared.facts["export_seconds"] > 0


@pytest.mark.slow
def test_the_packaged_model_is_exported_once() -> None:
    """MiniLM answers like eager through ONNX Runtime; asked again, its file comes from the cache."""
    loaded = load_classifier(MINILM, num_labels=2, class_names=NAMES)
    lines: list[str] = []
    with prepare_backend(loaded, "onnxruntime", rows=2, length=9, progress=lines.append) as prepared:
        assert_equal_at_every_shape(loaded, prepared.call)
        assert prepared.bytes_on_disk > loaded.model_bytes
        assert prepared.facts["from_cache"] is False
    with prepare_backend(loaded, "onnxruntime", rows=2, length=9, progress=lines.append) as again:
        assert again.facts["from_cache"] is True
        assert again.bytes_on_disk == prepared.bytes_on_disk
        assert "in the cache" in again.notes[0]
    assert lines == ["all-minilm-l6-v2: exporting to ONNX"]


@pytest.mark.slow
def test_facts_of_a_session(tiny: LoadedModel, no_export: list[Path]) -> None:
    """The record's facts are what the session reports, and the difference is the one that was found."""
    with prepare_backend(tiny, "onnxruntime", rows=3, length=12) as prepared:
        facts = prepared.facts
        assert facts["provider"] == "CPUExecutionProvider"
        assert facts["providers"][0] == "CPUExecutionProvider"
        assert facts["opset"] == 20
        assert facts["threads"] == torch.get_num_threads()
        assert 0 <= facts["largest_logit_difference"] < 1e-6
        assert prepared.recompiles() == 0
        json.dumps(facts, allow_nan=False)


@pytest.mark.slow
def test_random_weights_are_never_cached(tiny: LoadedModel, no_export: list[Path], tmp_path: Path) -> None:
    """An export of drawn weights, of trained ones, or with keep=False goes to a temporary folder that close removes."""
    cases = (
        (tiny, True),
        (replace(pretrained(tiny), method=HEAD), True),
        (pretrained(tiny), False),
    )
    for loaded, keep in cases:
        with prepare_backend(loaded, "onnxruntime", rows=2, length=5, keep=keep) as prepared:
            assert no_export[-1].is_dir()
        assert not no_export[-1].parent.exists()
        with pytest.raises(ValueError, match="was closed"):
            prepared.call(*check_inputs(tiny, 2, 5)[0])
    assert not (tmp_path / "cache").exists()


def test_a_half_written_cache_folder_is_made_again(tiny: LoadedModel, no_export: list[Path]) -> None:
    """A folder without its marker, with a marker cut short, or with a file of another size is not used."""
    loaded = pretrained(tiny)
    folder = onnx_export.kept_export(loaded).path.parent
    data = folder / "model.onnx.data"
    for harm in (
        lambda: (folder / "export.json").unlink(),
        lambda: (folder / "export.json").write_bytes(b'{"files": {"mod'),
        lambda: data.write_bytes(data.read_bytes()[:-100]),
        data.unlink,
    ):
        count = len(no_export)
        harm()
        assert onnx_export.kept_export(loaded).seconds is not None
        assert len(no_export) == count + 1
        assert onnx_export.kept_export(loaded).seconds is None
    assert [path.name for path in folder.parent.iterdir() if not path.name.startswith(".")] == [folder.name]


def test_an_export_that_fails_leaves_nothing(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of an export leaves no folder that a later run would take."""

    def fail(loaded: LoadedModel, folder: Path) -> onnx_export.Exported:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(onnx_export, "write_export", fail)
    with pytest.raises(OSError, match="no space"):
        onnx_export.kept_export(pretrained(tiny))
    left = [path for path in onnx_export.cache_folder("onnx").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_the_key_follows_what_decides_the_file(tiny: LoadedModel) -> None:
    """A weight, the revision, the precision and the attention change the key of an export; the seed of nothing does."""
    key = onnx_export.export_key(tiny)
    assert onnx_export.export_key(replace(tiny, seed=7)) == key
    with changed(tiny, 1e-6):
        assert onnx_export.export_key(tiny) != key
    assert onnx_export.export_key(replace(tiny, revision="b")) != key
    assert onnx_export.export_key(replace(tiny, precision="fp16")) != key
    tiny.model.set_attn_implementation("eager")
    assert onnx_export.export_key(tiny) != key
    tiny.model.set_attn_implementation("sdpa")
    assert onnx_export.export_key(tiny) == key


@pytest.mark.slow
def test_a_changed_weight_is_found(tiny: LoadedModel, no_export: list[Path]) -> None:
    """A weight that moves after the export changes the logits beyond the tolerance, and the text says by how much."""
    with changed(tiny, 0.01), pytest.raises(ChangedAnswersError, match="largest logit difference is 0") as error:
        prepare_backend(tiny, "onnxruntime", rows=3, length=12)
    assert "the tolerance at fp32 is" in str(error.value)
    assert not no_export[-1].parent.exists(), "the temporary files of a refused backend stay"


def test_tolerances() -> None:
    """Differences up to the tolerance pass and are returned; larger, of another shape or not finite are refused."""
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25]])
    for precision, share in backends.TOLERANCES.items():
        moved = logits.clone()
        moved[1, 1] += 0.99 * share * 2
        assert check_answers(logits, moved, precision) == pytest.approx(0.99 * share * 2, rel=1e-3)
        moved[1, 1] += 0.02 * share * 2
        with pytest.raises(ChangedAnswersError, match=f"tolerance at {precision} is"):
            check_answers(logits, moved, precision)
    with pytest.raises(ChangedAnswersError, match="shape 1 x 2 where the reference has 2 x 2"):
        check_answers(logits, logits[:1], "fp32")
    for bad in (float("nan"), float("inf")):
        moved = logits.clone()
        moved[0, 0] = bad
        with pytest.raises(ChangedAnswersError, match="1 logits are not finite, and 0 of the reference"):
            check_answers(logits, moved, "bf16")
        with pytest.raises(ChangedAnswersError, match="1 logits are not finite, and 1 of the reference"):
            check_answers(moved, moved, "bf16")
    small = torch.full((2, 2), 1e-6)
    assert check_answers(small, small + 9e-6, "fp32") == pytest.approx(9e-6, rel=1e-3)
    assert issubclass(ChangedAnswersError, EmoBenchError)


def test_another_provider_is_an_error(
    tiny: LoadedModel, no_export: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that reports another provider than the device's is refused, not timed."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["AzureExecutionProvider"])
    with pytest.raises(UnsupportedError, match="runs on AzureExecutionProvider, not on CPUExecutionProvider"):
        prepare_backend(tiny, "onnxruntime", rows=1, length=4)


def test_a_build_without_the_provider_is_an_error(tiny_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA asked of a build that has only the CPU is refused before a session is made on the CPU."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UnsupportedError, match=r"has no CUDAExecutionProvider.*pip install onnxruntime-gpu"):
        onnx_session.open_session(tiny_export / "model.onnx", "cuda", threads=1)


def test_nodes_are_counted_by_provider(tiny: LoadedModel, tiny_export: Path) -> None:
    """A traced call counts the nodes of the real graph; a matrix product elsewhere than asked for is an error."""
    inputs = check_inputs(tiny, 2, 5)[1]
    counts = onnx_session.nodes_by_provider(tiny_export / "model.onnx", "cpu", inputs)
    assert counts.keys() == {"CPUExecutionProvider"}
    assert counts["CPUExecutionProvider"] > 20

    def event(name: str, kind: str, provider: str) -> dict[str, Any]:
        return {"cat": "Node", "name": name, "args": {"op_name": kind, "provider": provider}}

    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    shapes = [event("a", "MatMul", cuda), event("b", "Gather", cpu), {"cat": "Session", "name": "run"}]
    assert onnx_session.check_nodes(shapes, cuda) == {cuda: 1, cpu: 1}
    with pytest.raises(UnsupportedError, match="MatMul on CPUExecutionProvider"):
        onnx_session.check_nodes([*shapes, event("c", "MatMul", cpu)], cuda)


def test_bound_buffers_give_the_same_logits(tiny: LoadedModel, tiny_export: Path) -> None:
    """The call that binds tensors where they lie, as on CUDA, gives the logits of the call that passes arrays."""
    session = onnx_session.open_session(tiny_export / "model.onnx", "cpu", threads=1)
    for inputs in check_inputs(tiny, 3, 12):
        expected = onnx_session.session_call(session, "cpu")(*inputs)
        # Every other row of a larger tensor: the memory of the inputs is not in one piece.
        strided = [tensor.repeat_interleave(2, dim=0)[::2] for tensor in inputs]
        torch.testing.assert_close(onnx_session._bound_call(session, "cpu")(*strided), expected, rtol=0, atol=0)


def test_out_of_memory_in_the_runtime_is_does_not_fit() -> None:
    """What onnxruntime says when memory ran out becomes the error of a case that does not fit."""
    error = onnx_session._as_error(RuntimeError("BFCArena: Failed to allocate memory for requested buffer"), "b64")
    assert isinstance(error, DoesNotFitError)
    assert isinstance(onnx_session._as_error(RuntimeError("Could not find"), "b64"), UnsupportedError)


@pytest.mark.slow
def test_compiled_answers_like_eager(tiny: LoadedModel) -> None:
    """The compiled model gives eager's logits at its shape, in one graph, and compiles no more when called."""
    with prepare_backend(tiny, "compile", rows=3, length=12) as prepared:
        assert prepared.facts["compiler"] == "inductor"
        assert (prepared.facts["graphs"], prepared.facts["graph_breaks"], prepared.facts["recompiles"]) == (1, 0, 0)
        assert prepared.facts["largest_logit_difference"] < 1e-6
        full, padded = check_inputs(tiny, 3, 12)
        with torch.inference_mode():
            inside = [tensor.clone() for tensor in full]
            prepared.call(*inside)
        prepared.call(*padded)
        assert prepared.recompiles() == 0
        with pytest.raises(ValueError, match=r"compiled for a batch of \(3, 12\) tokens, called with \(1, 12\)"):
            prepared.call(full[0][:1], full[1][:1])


@pytest.fixture
def no_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured and run as they are: the capturing is what is tested."""
    monkeypatch.setattr(compiled, "COMPILER", "eager")


@pytest.mark.slow
def test_a_graph_break_is_counted(tiny: LoadedModel, no_inductor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose forward breaks the graph once has one break in its facts, with the reason, and a note."""
    forward = type(tiny.model).forward

    def broken(self: object, *args: object, **options: object) -> object:
        torch._dynamo.graph_break()
        return forward(self, *args, **options)

    monkeypatch.setattr(type(tiny.model), "forward", broken)
    with prepare_backend(tiny, "compile", rows=2, length=6) as prepared:
        assert prepared.facts["graph_breaks"] >= 1
        assert "graph_break" in prepared.facts["graph_break_reasons"][0]
        assert "broke the graph" in prepared.notes[0]


@pytest.mark.slow
def test_a_sweep_of_shapes_never_stops_compiling(tiny: LoadedModel, no_inductor: None) -> None:
    """More shapes than torch's limit of recompilations are each compiled, and a further one is not run eagerly."""
    import torch._dynamo

    with torch._dynamo.config.patch(recompile_limit=1):
        for rows in range(1, 4):
            with prepare_backend(tiny, "compile", rows=rows, length=4) as prepared:
                assert prepared.facts["graphs"] == 1


def test_compiling_that_is_switched_off_is_an_error(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch.compile hands the model back as it is, that is an error and not a compiled model's time."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    with pytest.raises(UnsupportedError, match="compiled nothing"):
        prepare_backend(tiny, "compile", rows=1, length=4)


def test_a_compiler_that_fails_is_an_error(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside the compiler is told, also where torch is set to go on eagerly."""
    import torch._dynamo

    def fail(graph: object, inputs: object) -> None:
        raise RuntimeError("the linker is broken")

    monkeypatch.setattr(compiled, "COMPILER", fail)
    with (
        torch._dynamo.config.patch(suppress_errors=True),
        pytest.raises(UnsupportedError, match=r"cannot compile .*the linker is broken"),
    ):
        prepare_backend(tiny, "compile", rows=1, length=4)


def test_a_missing_compiler_is_an_error(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a C++ compiler the error has all three parts, and nothing runs eagerly instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++")
    with pytest.raises(UnsupportedError) as error:
        prepare_backend(tiny, "compile", rows=1, length=4)
    assert str(error.value).startswith("backend 'compile' cannot run 'all-minilm-l6-v2' at fp32 on cpu; ")
    assert "g++ is not on the PATH" in error.value.why
    assert "install" in error.value.fix


def test_a_missing_package_is_told(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxscript the error names the command that installs the extra."""
    monkeypatch.setattr(catalogue, "installed", lambda name: name != "onnxscript")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"'onnxscript'.*pip install \"emobench\[onnx\]\""):
        prepare_backend(tiny, "onnxruntime", rows=1, length=4)


@pytest.mark.parametrize(
    ("backend", "precision", "why"),
    [
        ("onnxruntime", "nf4", "no ONNX operators"),
        ("onnxruntime", "int8-bnb", "no ONNX operators"),
        ("onnxruntime", "bf16", "no bf16 kernels"),
        ("compile", "int8-bnb", "breaks the graph at every layer"),
    ],
)
def test_refused_precisions(tiny: LoadedModel, backend: Any, precision: Any, why: str) -> None:
    """A precision a backend cannot run is refused before anything is exported or compiled."""
    with pytest.raises(UnsupportedError, match=why):
        prepare_backend(replace(tiny, precision=precision), backend, rows=1, length=4)


def test_own_attention_is_put_back(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The export sees torch's attention where the model has EmoBench's, which it has again afterwards."""
    attention.register()
    seen: list[str] = []

    def export(module: Any, *args: object, **options: object) -> None:
        seen.append(module.model.config._attn_implementation)
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", export)
    tiny.model.set_attn_implementation(attention.NAME)
    try:
        with pytest.raises(UnsupportedError, match="cannot be exported to ONNX; OnnxExporterError: no such operator"):
            onnx_export.write_export(tiny, tmp_path)
        assert tiny.model.config._attn_implementation == attention.NAME
    finally:
        tiny.model.set_attn_implementation("sdpa")
    assert seen == ["sdpa"]


def test_check_inputs_pad_where_the_row_says(tiny: LoadedModel) -> None:
    """One batch has no padding, the other has up to half a row of it on the row's side, and no other pad token."""
    decoder = load_classifier(two_layers("tinyllama-1.1b"), num_labels=2, class_names=NAMES, weights="random")
    for loaded in (tiny, decoder):
        (full_BT, ones_BT), (padded_BT, mask_BT) = check_inputs(loaded, 4, 8)
        pad = loaded.model.config.pad_token_id
        assert ones_BT.all()
        assert (full_BT != pad).all()
        assert torch.equal(padded_BT == pad, mask_BT == 0)
        assert mask_BT.sum(1).tolist() == [7, 6, 5, 4]
        assert bool(mask_BT[3, -1]) is (loaded.spec.padding_side == "left")
