"""The notebooks run from top to bottom, are small, and hold nothing of the machine they were saved on."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("data_exploration", "model_comparison", "results_analysis")
MOST_BYTES = 200_000
MACHINE = re.compile(r"/(?:home|root|Users|work|tmp)/|[A-Z]:\\\\|https?://(?:localhost|127\.)")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every cell in order in a fresh kernel, without an error."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that run notebooks
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        settings = {"metadata": {"path": str(FOLDER)}}
        client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=settings)
        # Its own execute() leaves an event loop open, which a later test would be blamed for.
        asyncio.run(client.async_execute())
    told = [out["text"] for cell in notebook.cells for out in cell.get("outputs", ()) if out["output_type"] == "stream"]
    pictures = [out for cell in notebook.cells for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
    assert told
    assert pictures
    assert "Warning" not in "".join(told)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_of_no_machine(name: str) -> None:
    """What is saved with it fits a review, and names no folder and no address of the machine."""
    path = FOLDER / f"{name}.ipynb"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < MOST_BYTES
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("image/png", None)
    assert MACHINE.search(json.dumps(content)) is None
    assert all(cell["metadata"] == {} for cell in content["cells"])


def test_these_are_all_notebooks() -> None:
    """A new notebook is run by these tests too."""
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
