"""Metric modules of the ``evaluate`` library, from a local file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.metrics import matthews_corrcoef

from emobench.errors import DataError, NotOnMachineError
from emobench.evaluation.modules import module_scores

MODULE = """
import datasets
import evaluate
from sklearn.metrics import matthews_corrcoef


class Mine(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return RESULT
"""


def write(folder: Path, name: str, result: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(MODULE.replace("RESULT", result))
    return path


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The library keeps copies of modules, and imports them from one folder a process: here one of the tests' own."""
    import evaluate

    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder / "modules"))
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", str(folder / "metrics"))
        yield


def test_a_module_scores_predictions(tmp_path: Path) -> None:
    """A module's number is what its formula gives for our predictions and labels, in that order."""
    path = write(
        tmp_path, "correlation", '{"mcc": matthews_corrcoef(references, predictions), "first": predictions[0]}'
    )
    predicted, labels = [1, 0, 2, 1, 0], [1, 0, 2, 2, 1]
    found = module_scores(path, predicted, labels)
    assert found["mcc"] == pytest.approx(matthews_corrcoef(labels, predicted))
    assert found["first"] == 1


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    """A name is never downloaded: the error says so."""
    with pytest.raises(NotOnMachineError, match=r"no metric module .*; modules are taken from a file or a folder"):
        module_scores(tmp_path / "bleu", [1], [1])


def test_a_module_without_a_number(tmp_path: Path) -> None:
    """A result that holds no number is an error, not an empty table."""
    with pytest.raises(DataError, match="gives no number"):
        module_scores(write(tmp_path, "words", '{"text": "good"}'), [1], [1])
