"""A training that a session was ended in goes on from its last complete checkpoint when the session is gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Imported here so that pytester, which drops what a run in this process imported, leaves them.
import scipy.stats  # noqa: F401
import torch  # noqa: F401

from emobench.records.store import load_run, run_files
from emobench.training.fit import fit
from tests.strict import LOADED, WORKERS, strict_ini
from tests.training.test_fit import plan, tiny_data, tiny_model

SUITE = """
import os, signal
from dataclasses import replace
import pytest
from emobench.training import timed_checkpoints
from emobench.training.fit import fit
from tests.training.test_fit import plan, tiny_data, tiny_model

@pytest.mark.finetune
@pytest.mark.parametrize("model,dataset,method,precision,device",
                         [("all-minilm-l6-v2", "rotten_tomatoes-train", "full", "fp32", "cpu")])
def test_trains(case, model, dataset, method, precision, device, monkeypatch):
    # A checkpoint at every step, however long it takes.
    monkeypatch.setattr(timed_checkpoints, "LARGEST_SHARE", float("inf"))
    made = replace(case.with_checkpoints(plan()), checkpoint_seconds=0.0)
    first = not os.path.exists("began")
    open("began", "w").close()
    if first:
        fit(tiny_model(), tiny_data(), replace(made, stop_after=17))
        {end}
    fitted = fit(tiny_model(seed=5), tiny_data(), made)
    case.details["seen"] = {{"resumed_at": fitted.resumed_at, "losses": list(fitted.losses)}}
    case.time(lambda: None)
"""
ENDS = {
    "interrupt": ("raise KeyboardInterrupt", (), 2),
    "kill of its process": ("os.kill(os.getpid(), signal.SIGKILL)", ("--emo-isolate",), 11),
}


def folders(storage: Path) -> list[Path]:
    return sorted(storage.glob("runs/*/checkpoints/*/seed0/checkpoint-*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
def test_a_training_goes_on_from_its_checkpoint(pytester: pytest.Pytester, name: str) -> None:
    """Ended after 17 of 30 steps: resumed it starts at 17, has the losses of one never ended, and leaves nothing."""
    body, more, code = ENDS[name]
    pytester.makeini(
        strict_ini(
            WORKERS, LOADED, "ignore::DeprecationWarning", settings=f"pythonpath = {Path(__file__).parents[2]}\n"
        )
    )
    pytester.makepyfile(test_suite=SUITE.format(end=body))
    usual = ("--emo-profile=smoke", "--benchmark-storage=file://./results", "-p", "no:cacheprovider", "-p", "no:xdist")
    # An interrupt in this process would end this session too.
    run = pytester.runpytest_subprocess if name == "interrupt" else pytester.runpytest_inprocess
    ended = run(*usual, *more)
    assert ended.ret == code
    assert folders(pytester.path / "results")[-1].name == "checkpoint-17"
    again = pytester.runpytest_inprocess(*usual, "--emo-resume")
    again.assert_outcomes(passed=1)
    (record,) = load_run(run_files(pytester.path / "results")[-1]).records
    seen: dict[str, Any] = record.details["seen"]
    assert seen["resumed_at"] == 17
    whole = fit(tiny_model(), tiny_data(), plan())
    np.testing.assert_allclose(seen["losses"], whole.losses, rtol=0, atol=1e-6)
    assert not folders(pytester.path / "results")
