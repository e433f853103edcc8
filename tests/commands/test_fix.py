"""``emobench check --fix``: what changes no result is put into the file and shown, the rest is printed to be copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import load_project
from emobench.catalogue.run_table import find_run_table
from emobench.commands.check import Checked
from emobench.commands.fix import fix_project, safe_changes, unsafe_lines, without_hopeless
from emobench.kinds import FINETUNE
from emobench.preflight.planned import Finding, Fix
from emobench.specs import CaseSpec

SAFE = Fix(
    text="split", trade_off="slower", setting="--emo-set token_budget=512", safe=True, changes={"token_budget": 512}
)
LONGER = Fix(
    text="take longer inputs", trade_off="more memory", setting="--emo-set max_length=512", changes={"max_length": 512}
)
BIG = Finding(check="does-not-fit", level="stop", problem="too big", why="memory", fixes=(SAFE,), case_id="finetune[a]")
SETTINGS = """\
silence = ["few-rows"]      # I know

[run]
models = ["all-minilm-l6-v2"]
batch_sizes = [
    1,    # one at a time
    64,   # as the server takes them
]
precisions = ["fp32", "nf4"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a table of cases and comments."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "emobench.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timed(batch_size: int, precision: str = "fp32") -> CaseSpec:
    return CaseSpec(
        kind="inference",
        model=find_model("all-minilm-l6-v2"),
        precision=precision,  # type: ignore[arg-type]  # a test's own word
        device="cpu",
        batch_size=batch_size,
        profile=find_profile("quick"),
    )


def stopped(case: CaseSpec, check: str = "does-not-fit", *fixes: Fix) -> Finding:
    return replace(BIG, check=check, case_id=case.id, fixes=fixes)


def checked(cases: list[CaseSpec], *findings: Finding, whole: bool = True) -> Checked:
    return Checked(
        cases=tuple(case.id for case in cases),
        elsewhere={},
        skips=(),
        findings=findings,
        specs=tuple(cases),
        whole=whole,
    )


def test_safe_fixes_of_many_cases_are_one_change() -> None:
    """The smallest budget fits every case, true wins over nothing, and what is not safe is left alone."""
    fixes = [
        replace(SAFE, changes={"token_budget": 900}),
        replace(SAFE, changes={"token_budget": 300}),
        replace(SAFE, changes={"gradient_checkpointing": True}),
        replace(SAFE, safe=False, changes={"batch_size": 1}),
    ]
    found = [replace(BIG, fixes=(fix,)) for fix in fixes]
    assert safe_changes(found) == {"token_budget": 300, "gradient_checkpointing": True}
    assert safe_changes([replace(BIG, fixes=(fixes[3], SAFE))]) == {"token_budget": 512}
    assert safe_changes([]) == {}


def test_the_file_is_changed_and_the_change_shown(project: Path) -> None:
    """--fix writes into emobench.toml, keeps its comments, and leaves keys of the command line alone."""
    before = (project / "emobench.toml").read_text()
    checked = Checked(cases=("finetune[a]",), elsewhere={}, skips=(), findings=(BIG,))
    kept = fix_project(checked, given=["token_budget=4096"])
    assert (kept.changed, (project / "emobench.toml").read_text()) == (False, before)
    assert kept.text.startswith("no safe fix to apply")
    told = fix_project(checked)
    after = (project / "emobench.toml").read_text()
    assert told.changed
    assert "applied to emobench.toml, for every case of the project:\n  [train] token_budget = 512\n" in told.text
    assert "+token_budget = 512" in told.text
    assert 'silence = ["few-rows"]      # I know' in after


def test_batch_sizes_that_cannot_work_leave_the_table(project: Path) -> None:
    """A size of [run] at which every case stops is taken out; the lines that stay keep their comments."""
    cases = [timed(1), timed(64), timed(1, "nf4"), timed(64, "nf4")]
    told = fix_project(checked(cases, stopped(cases[1]), stopped(cases[3])))
    text = (project / "emobench.toml").read_text()
    assert told.changed
    assert "[run] batch_sizes = [1]" in told.text
    assert "-    64,   # as the server takes them" in told.text
    assert "    1,    # one at a time" in text
    table = find_run_table(load_project(project))
    assert table is not None
    assert (table.batch_sizes, table.precisions) == ((1,), ("fp32", "nf4"))


def test_a_precision_the_device_cannot_do_leaves_the_table(project: Path) -> None:
    """A precision of [run] that is not run on this device is taken out, and the other stays."""
    cases = [timed(1), timed(64), timed(1, "nf4"), timed(64, "nf4")]
    told = fix_project(checked(cases, *(stopped(case, "quantization") for case in cases[2:])))
    assert '-precisions = ["fp32", "nf4"]' in told.text
    assert '+precisions = ["fp32"]' in told.text


@pytest.mark.parametrize(
    ("cases", "findings", "whole"),
    [
        # Nothing would be left, and an empty list picks everything.
        ([timed(1), timed(64)], [stopped(timed(1)), stopped(timed(64))], True),
        # Another precision fits at this size.
        ([timed(1), timed(64), timed(64, "nf4")], [stopped(timed(64))], True),
        # A safe setting mends it.
        ([timed(1), timed(64)], [stopped(timed(64), "does-not-fit", SAFE)], True),
        # The user's data or table is wrong, not the plan.
        ([timed(1), timed(64)], [stopped(timed(64), "data")], True),
        # A warning is no stop.
        ([timed(1), timed(64)], [replace(stopped(timed(64)), level="warn")], True),
        # Cases that were not selected may fit.
        ([timed(1), timed(64)], [stopped(timed(64))], False),
    ],
)
def test_what_may_work_stays(project: Path, cases: list[CaseSpec], findings: list[Finding], whole: bool) -> None:
    """Nothing leaves [run] that a case could still use, or that the user has to mend."""
    fix_project(checked(cases, *findings, whole=whole))
    text = (project / "emobench.toml").read_text()
    assert text.startswith(SETTINGS), text


def test_a_table_that_is_not_there_is_not_made() -> None:
    """Without [run] every case is picked: a table would pick fewer."""
    cases = [timed(1), timed(64)]
    assert without_hopeless({}, checked(cases, stopped(cases[1]))) == {}


@pytest.mark.parametrize(("key", "at"), [("methods", "method"), ("models", "model")])
def test_models_and_methods_are_axes_too(key: str, at: str) -> None:
    """Whatever [run] lists of a case is looked at."""
    base = timed(1).model_copy(update={"kind": FINETUNE, "batch_size": None, "method": find_method("lora")})
    other: dict[str, Any] = {"method": find_method("full"), "model": find_model("distilbert-base")}
    cases = [base, base.model_copy(update={at: other[at]})]
    names = [getattr(case, at).id for case in cases]
    assert without_hopeless({key: names}, checked(cases, stopped(cases[1]))) == {key: names[:1]}


def test_unsafe_fixes_are_lines_to_copy(project: Path) -> None:
    """Each with its price, as options and as the file has it; nothing of them is written."""
    rate = replace(
        LONGER, text="take the usual rate", setting="--emo-set learning_rate=none", changes={"learning_rate": None}
    )
    found = [
        replace(BIG, check="truncation", level="warn", fixes=(LONGER,)),
        replace(BIG, check="learning-rate", level="warn", fixes=(rate,)),
    ]
    told = fix_project(Checked(cases=("finetune[a]",), elsewhere={}, skips=(), findings=tuple(found)))
    assert not told.changed
    assert told.text.splitlines() == [
        "no safe fix to apply: what is left changes results, and is yours to choose",
        "  truncation: take longer inputs (more memory)",
        "      --set max_length=512",
        "      in emobench.toml: [profile] max_length = 512",
        "  learning-rate: take the usual rate (more memory)",
        "      --set learning_rate=none",
        "      in emobench.toml: no learning_rate in [train]",
    ]
    assert (project / "emobench.toml").read_text() == SETTINGS


def test_many_unsafe_fixes_are_counted() -> None:
    """Beyond a few they are a number."""
    found = [
        replace(
            BIG,
            problem=f"{n}",
            fixes=(replace(LONGER, setting=f"--emo-set max_length={n}", changes={"max_length": n}),),
        )
        for n in range(1, 12)
    ]
    assert list(unsafe_lines(found, "emobench.toml"))[-1] == "  and 3 more, which stand with the findings"
