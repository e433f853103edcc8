"""``emobench evaluate`` on saved MiniLM classifiers with a random head, against transformers and scikit-learn."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, classification_report, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.cli import app
from emobench.commands.evaluate import autocast_dtype
from emobench.models.adapters import quiet_peft
from emobench.models.load import LoadedModel, load_classifier, load_tokenizer
from emobench.models.save import save_model
from emobench.records.predictions import read_predictions

MINILM = find_model("all-minilm-l6-v2")
DATA = ("negative", "positive")
GOOD = ("a warm and lovely film", "I laughed and cried", "superb acting throughout", "a joy from start to end")
BAD = ("dull, slow and far too long", "I want my money back", "wooden acting", "a waste of an evening")
TEST = [
    (f"{text}, number {index}", label) for index in range(3) for label, part in enumerate((BAD, GOOD)) for text in part
]
"""24 rows, 12 a class."""


def saved(folder: Path, method: str) -> LoadedModel:
    loaded = load_classifier(MINILM, num_labels=2, class_names=DATA, method=find_method(method), seed=3)
    if method == "lora":
        with torch.no_grad():
            for name, parameter in loaded.model.named_parameters():
                # As peft makes it, an adapter changes nothing: one that was trained does.
                if "lora_B" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    save_model(loaded, load_tokenizer(MINILM), folder)
    return loaded


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved model ``whole`` and a saved adapter ``adapter``, both of MiniLM."""
    folder = tmp_path_factory.mktemp("checkpoints")
    saved(folder / "whole", "head")
    saved(folder / "adapter", "lora")
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a data set of its own whose test split is :data:`TEST`, and an empty cache."""
    for name, rows in (("train", [(f"word {n}", n % 2) for n in range(40)]), ("test", TEST)):
        lines = [json.dumps({"text": text, "label": DATA[label]}) for text, label in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "emobench.toml").write_text(
        "[profile]\ntrain = 20\nvalidation = 10\ntest = 24\nmax_length = 32\n"
        "[datasets.films]\npath = 'train.jsonl'\ntest_path = 'test.jsonl'\nlabels = ['negative', 'positive']\n"
    )
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: object) -> list[dict[str, Any]]:
    """Records of a run that works."""
    result = run(*arguments, "--json", "records.json")
    assert result.exit_code == 0, result.output
    records: list[dict[str, Any]] = json.loads(Path("records.json").read_text())
    return records


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", "--data", "films", "--device", "cpu", *map(str, arguments)])


def values(record: dict[str, Any]) -> dict[str, float]:
    return {name: item["value"] for name, item in record["metrics"].items()}


def probabilities(model: torch.nn.Module, folder: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities of :data:`TEST`, one text at a time without padding, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.eval()
    with torch.no_grad():
        rows = [
            model(**tokenizer(text, return_tensors="pt", max_length=32, truncation=True)).logits for text, _ in TEST
        ]
    return torch.cat(rows).double().softmax(dim=1).numpy()


def by_transformers(folder: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return probabilities(model, folder)


def tiny(folder: Path, names: tuple[str, ...]) -> Path:
    """A one-layer BERT with MiniLM's vocabulary and a class for each name."""
    torch.manual_seed(len(names))
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    # Far larger than usual, so that the words decide the class.
    config = BertConfig(vocab_size=30522, id2label=dict(enumerate(names)), initializer_range=0.4, **sizes)
    model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    load_tokenizer(MINILM).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_saved_model_scores_as_scikit_learn_says(checkpoints: Path) -> None:
    """Every printed figure of a saved model is that of transformers' own predictions under scikit-learn."""
    expected = by_transformers(checkpoints / "whole")
    labels, predicted = [label for _, label in TEST], expected.argmax(axis=1)
    assert set(predicted) == {0, 1}
    (record,) = evaluate(checkpoints / "whole", "--predictions", "kept")
    found = values(record)
    report = classification_report(labels, predicted, target_names=DATA, output_dict=True)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])
    assert found["f1_weighted"] == pytest.approx(report["weighted avg"]["f1-score"])
    assert found["f1_binary"] == pytest.approx(report["positive"]["f1-score"])
    assert found["precision_macro"] == pytest.approx(report["macro avg"]["precision"])
    assert found["recall_macro"] == pytest.approx(report["macro avg"]["recall"])
    low, high = record["metrics"]["accuracy"]["ci"]
    assert low < found["accuracy"] < high
    assert found["evaluate_samples_per_second"] > 0
    assert record["status"] == "ok"
    assert record["case"]["id"] == "evaluate[whole-films-test-fp32-cpu]"
    frame = read_predictions(Path(record["artifacts"]["predictions"]))
    # The rows of the split are in the order of their hash; sorted, they are the same rows.
    kept = np.sort(frame["p_positive"].to_numpy())
    np.testing.assert_allclose(kept, np.sort(expected[:, 1]), atol=1e-5)
    assert frame["label"].sum() == 12


def test_several_checkpoints_give_one_row_each(checkpoints: Path) -> None:
    """A model and an adapter are compared in one table, each followed by its classes and confusion matrix."""
    result = run(checkpoints / "whole", checkpoints / "adapter")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "films, test split, 24 rows, profile quick"
    rows = [re.split(r"  +", line) for line in lines[4:6]]
    assert [row[:2] for row in rows] == [["whole", "fp32"], ["adapter", "fp32"]]
    assert all(re.fullmatch(r"0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\)", row[2]) for row in rows)
    for word in ("macro", "weighted", "binary", "calibration", "samples/s"):
        assert word in "\n".join(lines[1:3])
    for name in ("whole", "adapter"):
        start = lines.index(name)
        assert "predicted  predicted" in lines[start + 1]
        counts = [[int(cell) for cell in re.split(r"  +", line)[4:]] for line in lines[start + 4 : start + 6]]
        assert [row[0] for row in counts] == [12, 12]
        assert [sum(row[1:]) for row in counts] == [12, 12]
    assert "loading" not in result.stdout


@pytest.mark.slow
def test_an_adapter_on_its_base(checkpoints: Path, tmp_path: Path) -> None:
    """Saved by EmoBench or by peft alone, with the base named or found, an adapter gives the same predictions."""
    from peft import PeftModel

    reference: Any = AutoModelForSequenceClassification.from_pretrained(
        checkpoints / "whole", dtype=torch.float32, id2label=dict(enumerate(DATA))
    )
    with quiet_peft():
        peft_model = PeftModel.from_pretrained(reference, str(checkpoints / "adapter"))
    expected = probabilities(peft_model, checkpoints / "adapter")
    accuracy = accuracy_score([label for _, label in TEST], expected.argmax(axis=1))
    assert np.abs(expected - by_transformers(checkpoints / "whole")).max() > 0.01

    plain = tmp_path / "plain"
    shutil.copytree(checkpoints / "adapter", plain)
    (plain / "emobench.json").unlink()
    pairs = ["--label-map", "LABEL_0=negative", "--label-map", "LABEL_1=positive"]
    runs = [
        evaluate(checkpoints / "adapter", "--predictions", "kept"),
        evaluate(checkpoints / "adapter", "--base", MINILM.id, "--predictions", "kept"),
        evaluate(plain, *pairs, "--predictions", "kept"),
        evaluate(plain, "--base", MINILM.id, *pairs, "--predictions", "kept"),
    ]
    for (record,) in runs:
        assert values(record)["accuracy"] == pytest.approx(accuracy)
        kept = read_predictions(Path(record["artifacts"]["predictions"]))["p_positive"].to_numpy()
        np.testing.assert_allclose(np.sort(kept), np.sort(expected[:, 1]), atol=1e-5)
        assert record["case"]["method"] == "lora"


def test_a_classifier_with_unnamed_classes_needs_a_map(tmp_path: Path) -> None:
    """LABEL_0 and LABEL_1 mean nothing: an error lists both sides, and with a map the scores follow it."""
    folder = tiny(tmp_path / "theirs", ("LABEL_0", "LABEL_1"))
    refused = run(folder)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"{folder} has no class for negative, positive of data set 'films'; its classes are LABEL_0, LABEL_1 and the "
        "data set's are negative, positive; say which is which, for example --label-map LABEL_0=negative\n"
    )
    (right,) = evaluate(folder, "--label-map", "LABEL_0=negative", "--label-map", "LABEL_1=positive")
    (swapped,) = evaluate(folder, "--label-map", "LABEL_0=positive", "--label-map", "LABEL_1=negative")
    accuracy = accuracy_score([label for _, label in TEST], by_transformers(folder).argmax(axis=1))
    assert values(right)["accuracy"] == pytest.approx(accuracy)
    assert values(swapped)["accuracy"] == pytest.approx(1 - accuracy)
    assert right["details"]["classes_of_model"] == {"LABEL_0": "negative", "LABEL_1": "positive"}
    assert [entry["name"] for entry in right["details"]["per_class"]] == list(DATA)
    assert right["case"]["key"] != swapped["case"]["key"]


def test_names_are_matched_without_a_map(tmp_path: Path) -> None:
    """Names in another case and order are found, and the classes are counted as the data set's."""
    folder = tiny(tmp_path / "theirs", ("Positive", "Negative"))
    (record,) = evaluate(folder)
    accuracy = accuracy_score([label for _, label in TEST], 1 - by_transformers(folder).argmax(axis=1))
    assert values(record)["accuracy"] == pytest.approx(accuracy)


def test_a_class_the_data_lacks_is_a_wrong_answer(tmp_path: Path) -> None:
    """A model with a third class is scored over the data's two; choosing the third is wrong."""
    folder = tiny(tmp_path / "three", ("neutral", "positive", "negative"))
    chosen = by_transformers(folder).argmax(axis=1)
    assert 0 in chosen
    labels = [{0: 2, 1: 1}[label] for _, label in TEST]
    (record,) = evaluate(folder)
    found = values(record)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, chosen))
    assert found["f1_macro"] == pytest.approx(f1_score(labels, chosen, labels=[1, 2], average="macro"))
    assert found["f1_binary"] == pytest.approx(f1_score(labels, chosen, labels=[1], average="macro"))
    assert record["details"]["class_names"] == ["negative", "positive", "neutral"]
    assert np.array(record["details"]["confusion"])[:, 2].sum() == (chosen == 0).sum()


def test_several_classes_of_the_model_may_be_one_of_the_data(tmp_path: Path) -> None:
    """Five stars count as two classes; their probabilities add up."""
    stars = tuple(f"{count} stars" for count in range(1, 6))
    folder = tiny(tmp_path / "stars", stars)
    sides = ("positive", "negative", "negative", "negative", "positive")
    pairs = [word for star, side in zip(stars, sides, strict=True) for word in ("--label-map", f"{star}={side}")]
    (record,) = evaluate(folder, *pairs)
    table = by_transformers(folder)
    predicted = table[:, [0, 4]].sum(axis=1) > table[:, 1:4].sum(axis=1)
    assert list(predicted) != [star in (0, 4) for star in table.argmax(axis=1)]
    assert values(record)["accuracy"] == pytest.approx(accuracy_score([label for _, label in TEST], predicted))


def test_other_splits(tmp_path: Path) -> None:
    """The validation split, or everything there is; the latter says that training rows are among it."""
    folder = tiny(tmp_path / "two", DATA)
    assert evaluate(folder, "--split", "validation")[0]["details"]["rows"] == 10
    result = run(folder, "--split", "all")
    assert result.stdout.startswith("films, all split, 54 rows")
    assert "rows of the training split are among them" in result.stdout


def test_lower_precision_is_recorded(tmp_path: Path) -> None:
    """At bf16 the weights are cast, and the record says so."""
    folder = tiny(tmp_path / "two", DATA)
    (full,), (half,) = evaluate(folder), evaluate(folder, "--precision", "bf16")
    assert half["case"]["precision"] == "bf16"
    assert values(half)["model_bytes"] < 0.6 * values(full)["model_bytes"]


@pytest.mark.parametrize(
    ("precision", "weights", "expected"),
    [
        ("bf16", torch.float32, torch.bfloat16),
        ("fp16", torch.float32, torch.float16),
        ("bf16", torch.bfloat16, None),
        ("fp32", torch.float32, None),
        ("int8", torch.float32, None),
    ],
)
def test_weights_kept_in_fp32_are_scored_as_they_were_trained(
    precision: str, weights: torch.dtype, expected: torch.dtype | None
) -> None:
    """A model trained at bf16 has fp32 weights: it is scored under autocast, one that was cast is not."""
    loaded: Any = SimpleNamespace(precision=precision, model=torch.nn.Linear(2, 2, dtype=weights))
    assert autocast_dtype(loaded) is expected


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    """Two folders of one name get longer names; the same folder twice is an error."""
    first, second = tiny(tmp_path / "a" / "model", DATA), tiny(tmp_path / "b" / "model", DATA)
    assert [record["case"]["checkpoint"] for record in evaluate(first, second)] == ["a_model", "b_model"]
    assert "is given twice" in run(first, first).stderr


def without_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k}, folder / "model.safetensors", {"format": "pt"}
    )


def edited(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    """A head that was not saved is never replaced by a random one."""
    folder = tiny(tmp_path / "two", DATA)
    without_head(folder)
    result = run(folder)
    assert result.exit_code == 1
    assert "missing: classifier.bias, classifier.weight" in result.stderr
    assert result.stdout == ""


def test_a_changed_saved_model_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    """A file that is not as it was saved is not evaluated."""
    folder = tmp_path / "changed"
    shutil.copytree(checkpoints / "adapter", folder)
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 8', '"r": 4'))
    result = run(folder)
    assert result.exit_code == 1
    assert "adapter_config.json was changed after it was saved" in result.stderr


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "its config.json names BertForMaskedLM"),
        ({"model_type": "mystery"}, "its model type 'mystery' is not part of transformers; its code is not run"),
        ({"auto_map": {"AutoConfig": "code.Config"}}, "its code is not run"),
        ({"quantization_config": {}}, "its weights are saved quantized"),
    ],
)
def test_what_is_no_ready_classifier_is_refused(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    """Another task, foreign code and quantized weights are told apart, before anything is loaded."""
    folder = tiny(tmp_path / "two", DATA)
    edited(folder, **changes)
    result = run(folder)
    assert result.exit_code == 1
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere/model"], "no checkpoint 'nowhere/model'; it is no folder here and no hub id of the table of models"),
        (["all-minilm-l6-v2"], "model 'all-minilm-l6-v2' is no classifier; its weights come without a head"),
        (["distilbert"], "unknown model 'distilbert'"),
        (["two", "--split", "tset"], "unknown split 'tset'; known are all, test, validation; did you mean 'test'?"),
        (["two", "--profile", "quik"], "did you mean 'quick'?"),
        (["two", "--base", "all-minilm-l6-v2"], "--base all-minilm-l6-v2 without an adapter"),
        (["two", "--base", "minilm"], "unknown model 'minilm'; known are all-minilm-l6-v2"),
        (["two", "--label-map", "LABEL_1=good"], "unknown class in --label-map 'good'; known are negative, positive"),
        (["two", "--label-map", "LABEL=positive"], "unknown class of a model in --label-map 'LABEL'; known are"),
        (["two", "--precision", "fp8"], "unknown precision 'fp8'"),
        (["two", "--data", "random-tokens"], "data set 'random-tokens' cannot be evaluated on"),
        (["empty"], "empty holds no checkpoint; it has none of emobench.json, adapter_config.json and config.json"),
    ],
)
def test_a_wrong_name_is_one_line(tmp_path: Path, arguments: list[str], text: str) -> None:
    """Names are looked up before the data is read and a model is loaded; the exit code is 2."""
    tiny(tmp_path / "two", DATA)
    (tmp_path / "empty").mkdir()
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A place that is no folder is named, with its option; the table was printed before."""
    folder = tiny(tmp_path / "two", DATA)
    (tmp_path / "file").write_text("")
    result = run(folder, "--json", tmp_path / "file" / "records.json")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("--json: ")
    assert "films, test split" in result.stdout
