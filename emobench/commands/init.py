"""The wizard: ten steps from the hardware to an ``emobench.toml`` that runs as it stands. Downloads and runs nothing.

Each question has a flag. Without a terminal the flags answer, or with ``--yes`` the defaults.
"""

from __future__ import annotations

import difflib
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench import __version__
from emobench.catalogue.goals import find_goals
from emobench.catalogue.limits import find_limits
from emobench.catalogue.profiles import PROFILES, find_profile
from emobench.catalogue.project import DEFAULT_PROFILE, load_project
from emobench.catalogue.run_table import Tracking, find_run_table
from emobench.commands.project_place import SETTINGS, Place, find_place, own_benchmarks
from emobench.commands.wizard_answers import Asker, Terminal, Walk
from emobench.commands.wizard_toml import to_toml
from emobench.errors import SpecError, UnsupportedError
from emobench.files import write_bytes
from emobench.kinds import FINETUNE
from emobench.preflight.findings import find_silenced
from emobench.specs import TrainSettings

if TYPE_CHECKING:
    from emobench.commands.wizard_plan import Plan
    from emobench.preflight.planned import Finding
    from emobench.specs import CaseSpec

STEPS = (
    "hardware",
    "data and its analysis",
    "task",
    "model",
    "method",
    "precision",
    "batch",
    "schedule",
    "tracking",
    "final check",
)

_TRAINING_ONLY = ("method", "epochs", "learning-rate", "seeds")
_FLAGS: Mapping[str, str] = {
    "device": "cpu, cuda or mps",
    "data": "a data set of emobench datasets, or the path of a CSV, JSONL or Parquet file",
    "text": "with a file: the column with the texts",
    "label": "with a file: the column with the labels",
    "task": "finetune, inference or generation",
    "model": "a model of emobench models",
    "method": "full, lora or head",
    "precision": "fp32, bf16, fp16, int8, int8-bnb or nf4",
    "batch-size": "examples of a step",
    "profile": ", ".join(PROFILES),
    "epochs": "passes over the training rows",
    "learning-rate": "the peak",
    "seeds": "training seeds",
    "tracking": "none, mlflow, tensorboard or trackio",
}
"""Every question's flag and what it takes, in the order they are asked."""

KEPT = ("silence", "targets", "price", "gates", "models", "datasets")
"""Keys and tables of a file that is replaced which the wizard has no question for: they stay."""


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """What the command line said."""

    given: Mapping[str, str]
    """Flag without dashes to its value."""
    yes: bool = False
    """Take the default of every question that has no flag, and write without asking."""
    force: bool = False
    """Replace a file that is there."""
    output: Path | None = None
    quiet: bool = False
    """Say what was written, and nothing on the way."""


def lacking_flags(given: Mapping[str, str]) -> list[str]:
    """A line for each flag that still has to be given where nobody can be asked."""
    trained = given.get("task", FINETUNE.name) == FINETUNE.name
    from_file = Path(given.get("data", "")).suffix != "" or "data" not in given
    wanted = [
        flag
        for flag in _FLAGS
        if flag not in given
        and (trained or flag not in _TRAINING_ONLY)
        and (from_file or flag not in ("text", "label"))
    ]
    width = max(map(len, wanted), default=0)
    return [f"  --{flag:<{width}}  {_FLAGS[flag]}" for flag in wanted]


def init(options: InitOptions, *, say: Callable[[str], None]) -> bool:
    """Walk the ten steps and write the file; False where the last question was answered with no.

    Raises:
        SpecError: an answer that means nothing, settings that are there already, or ``[tool.emobench]`` beside them.
        DoesNotFitError: nothing of what was asked for fits in the memory that is free.
        UnsupportedError: the final check found what cannot work, and nobody could be asked.
        MissingExtraError: the package that asks at a terminal is not installed.
    """
    target = options.output or project_root() / SETTINGS
    asker: Asker | None = None if options.yes or not at_terminal() else Terminal()
    _refuse_taken(target, force=options.force, early=asker is not None)
    walk = Walk(given=options.given, asker=asker, say=(lambda line: None) if options.quiet else say)
    from emobench.measurement.probes import quiet_packages

    with quiet_packages():
        return _init(options, walk, target, say)


def _init(options: InitOptions, walk: Walk, target: Path, say: Callable[[str], None]) -> bool:
    place = find_place(target.parent)
    plan, tracking = _walk(walk, place, target.parent.resolve())
    text = settings_text(plan, tracking, kept_tables(target))
    check_text(text, target)
    _show(walk, text, target)
    if target.exists() and not options.force:
        raise _taken(target)
    stops = _final_check(walk, plan, place)
    if stops and walk.asker is None:
        raise stops[0]
    if walk.asker is not None and not walk.asker.confirm(f"Write {target}?", default=not stops):
        say("nothing was written")
        return False
    write_bytes(target, text.encode())
    for line in _farewell(plan, target):
        say(line)
    return True


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def project_root() -> Path:
    """The project with benchmarks of its own around the working folder, else that folder."""
    return own_benchmarks() or Path.cwd()


def _refuse_taken(target: Path, *, force: bool, early: bool) -> None:
    """Refuse before ten minutes of questions what would be refused after them."""
    if target.exists() and early and not force:
        raise _taken(target)
    if target.is_dir() or target.suffix != ".toml":
        raise SpecError(f"--output {target}", why="settings are one .toml file", fix=f"name {target / SETTINGS}")
    shared = target.parent / "pyproject.toml"
    try:
        tables = tomllib.loads(shared.read_text(encoding="utf-8")) if shared.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{shared} cannot be read", why=f"it is not TOML: {error}", fix="correct it") from error
    if target.name == SETTINGS and "emobench" in tables.get("tool", {}):
        raise SpecError(
            f"{shared} has [tool.emobench]",
            why="settings in two places would hide one another",
            fix=f"remove it, or write elsewhere with --output plan/{SETTINGS}",
        )


def _taken(target: Path) -> SpecError:
    return SpecError(
        f"{target} is there already",
        why="the wizard replaces no file without being told to",
        fix="add --force, or write elsewhere with --output",
    )


def _walk(walk: Walk, place: Place, root: Path) -> tuple[Plan, Tracking | None]:
    """Steps one to nine."""
    from emobench.commands import wizard_choices as choices
    from emobench.commands.wizard_analysis import analyzed
    from emobench.commands.wizard_cost import measured_rates
    from emobench.commands.wizard_data import ask_data
    from emobench.commands.wizard_hardware import ask_hardware
    from emobench.commands.wizard_plan import Plan

    steps = iter(enumerate(STEPS, start=1))

    def begin() -> None:
        number, title = next(steps)
        walk.say(f"\nstep {number} of {len(STEPS)}: {title}")

    begin()
    hardware = ask_hardware(walk)
    begin()
    data = analyzed(walk, ask_data(walk, place, root), place, hardware.kind)
    begin()
    kind = choices.ask_task(walk)
    plan = Plan(
        hardware=hardware,
        data=data,
        rates=measured_rates(hardware, walk.say),
        kind=kind,
        profile=find_profile(walk.given.get("profile", DEFAULT_PROFILE)),
        train=TrainSettings(),
        batch_size=kind.offered_batch,
    )
    begin()
    plan = choices.ask_model(walk, plan, place)
    for ask in (choices.ask_method, choices.ask_precision, choices.ask_batch, choices.ask_schedule):
        begin()
        plan = ask(walk, plan)
    begin()
    tracking = choices.ask_tracking(walk)
    begin()
    return plan.settled(), tracking


def kept_tables(target: Path) -> dict[str, Any]:
    """Tables of the file that is to be replaced which stay."""
    if not target.is_file():
        return {}
    try:
        content = tomllib.loads(target.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
    return {name: content[name] for name in KEPT if name in content}


def settings_text(plan: Plan, tracking: Tracking | None, kept: Mapping[str, Any]) -> str:
    """The whole file: a head that says what it plans and how to run it, and the tables."""
    case = plan.chosen
    own = {} if plan.data.table is None or case.dataset is None else {case.dataset.id: dict(plan.data.table)}
    tables: dict[str, Any] = {
        "profile": _profile_table(plan),
        "seeds": plan.seeds if plan.kind.trains_method else None,
        "train": _train_table(plan) if plan.kind.trains_method else None,
        "run": _run_table(case, tracking),
        **{name: kept[name] for name in KEPT if name in kept and name != "datasets"},
        "datasets": {**kept.get("datasets", {}), **own},
    }
    return f"{_head(plan)}\n{to_toml({name: table for name, table in tables.items() if table})}"


def _head(plan: Plan) -> str:
    cost = plan.chosen_cost()
    taken = f"# Expected to take {cost.text}.\n" if cost else ""
    return (
        f"# Written by emobench init (EmoBench {__version__}) for {plan.chosen.id}\n{taken}"
        "# Run it: pytest benchmarks    (or: emobench run)\n"
        "# [run] picks the cases; where the command line names some, as pytest benchmarks -k lora, those run.\n"
    )


def _profile_table(plan: Plan) -> str | dict[str, Any]:
    base = PROFILES[plan.profile.id]
    changed = {name: value for name, value in plan.profile.model_dump().items() if value != getattr(base, name)}
    return {"name": plan.profile.id, **changed} if changed else plan.profile.id


def _train_table(plan: Plan) -> dict[str, Any]:
    usual = TrainSettings().model_dump()
    changed = {name: value for name, value in plan.train.model_dump().items() if value != usual[name]}
    return {"batch_size": plan.batch_size, **{name: value for name, value in changed.items() if name != "batch_size"}}


def _run_table(case: CaseSpec, tracking: Tracking | None) -> dict[str, Any]:
    return {
        "kinds": [case.kind.name],
        "models": [case.model.id],
        "datasets": [case.dataset.id] if case.dataset else None,
        "methods": [case.method.id] if case.method else None,
        "precisions": [case.precision],
        "devices": [case.device],
        "batch_sizes": [case.batch_size] if case.batch_size else None,
        "tracking": tracking,
    }


def check_text(text: str, target: Path) -> None:
    """Read the text as a run would.

    Raises:
        SpecError: a run would refuse it, as where a table that stays was wrong before.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_bytes(Path(folder, SETTINGS), text.encode())
        try:
            project = load_project(Path(folder))
            find_run_table(project)
            settings = project.settings
            find_goals(settings.get("targets", {}), settings.get("price", {}))
            find_limits(settings.get("gates", {}))
            find_silenced(settings.get("silence", ()))
        except SpecError as error:
            problem = error.problem.replace(str(Path(folder, SETTINGS)), str(target))
            raise SpecError(problem, why=error.why, fix=f"correct {target} first") from error


def _show(walk: Walk, text: str, target: Path) -> None:
    """The text; of a file that is there already what changes."""
    if not target.is_file():
        walk.say(f"{target} will be:\n\n{text}")
        return
    before = target.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = difflib.unified_diff(before, text.splitlines(), f"{target} now", "as planned", lineterm="")
    walk.say("\n".join(lines) or f"{target} is as planned already")


def _final_check(walk: Walk, plan: Plan, place: Place) -> Sequence[UnsupportedError]:
    """Say what the preflight checks find; what cannot work is returned as errors."""
    from emobench.cases.checks import machine_of, preflight

    case, storage = plan.chosen, place.root / "results"
    machine = machine_of(case.device, storage=storage)
    tried = {name: probe.ok for name, probe in plan.hardware.probes.items()}
    findings = preflight(
        case,
        storage=storage,
        silenced=find_silenced(place.project.settings.get("silence", ())),
        machine=machine and replace(machine, precisions=tried),
    )
    for found in findings:
        walk.say(f"{found.level}: {found.problem}; {found.why}")
        for fix in found.fixes:
            walk.say(f"      {fix.text} ({fix.trade_off}){f': {fix.setting}' if fix.setting else ''}")
    if not findings:
        walk.say("the checks found nothing to say")
    stops = [found for found in findings if found.level == "stop"]
    return [UnsupportedError(stop.problem, why=stop.why, fix=_first_fix(stop)) for stop in stops]


def _first_fix(stop: Finding) -> str:
    return stop.fixes[0].text if stop.fixes else "change the plan"


def _farewell(plan: Plan, target: Path) -> list[str]:
    from emobench.commands.lists import here_text, why_absent

    case = plan.chosen
    lines = [f"wrote {target}"]
    rows = [row for row in (case.model, case.dataset) if row is not None]
    lines += [f"first run: {here_text(row).removeprefix('no: ')}" for row in rows if why_absent(row)]
    if target.name != SETTINGS:
        return [*lines, f"to use it, name it {SETTINGS}, then run in its folder: pytest benchmarks"]
    folder = target.parent.resolve()
    where = "" if Path.cwd().resolve() == folder else f" in {folder}"
    return [*lines, f"run it{where}: pytest benchmarks    (or: emobench run)"]
