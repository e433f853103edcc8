"""``emobench check``: the cases that ``run`` would take, and what preflight says of each.

The cases come from pytest's own collection, so that they are the same as those of a run. Nothing is run.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emobench.commands.expected_time import Expected, expected_lines, expected_times
from emobench.commands.project_place import BENCHMARKS, find_benchmarks, find_place, pytest_options
from emobench.commands.run import RunOptions, check_options
from emobench.errors import SpecError
from emobench.files import write_bytes
from emobench.preflight.findings import find_silenced
from emobench.preflight.grouped import finding_lines, grouped
from emobench.preflight.planned import LEVELS, Finding, Machine, worst
from emobench.specs import CaseSpec, DeviceKind

if TYPE_CHECKING:
    import pytest

    from emobench.reports.tables import Skip

SCHEMA = 1
"""Of the JSON file."""
SAY_SECONDS = 5
"""Between lines on how far the checking is."""


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Which cases are checked, and how."""

    run: RunOptions = field(default_factory=RunOptions)
    select: str | None = None
    mark: str | None = None
    silence: Sequence[str] = ()
    extra: Sequence[str] = ()
    """Further arguments of pytest."""


@dataclass(kw_only=True)
class Collected:
    """What pytest collected; a plugin of its run fills it."""

    specs: list[CaseSpec] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    """Cases that a run with the same options would leave out, and why."""
    storage: Path = Path("results")
    save_models: bool = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the cases once all that is deselected is gone."""
        from emobench.session.lookup import has_case, session_of
        from emobench.session.skips import slow_asked_for, why_skip

        items = [item for item in session.items if has_case(item)]
        if not items:
            return
        ours = session_of(session.config)
        self.storage = ours.storage
        self.save_models = bool(session.config.getoption("emo_save_models"))
        asked = slow_asked_for(ours)
        for item in items:
            spec = ours.spec_of(item)
            self.specs.append(spec)
            skip = why_skip(ours, spec, with_slow=asked)
            if skip is not None:
                self.skips.append(skip)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check of a matrix gave."""

    cases: tuple[str, ...]
    """Ids of the cases that were checked."""
    elsewhere: dict[str, int]
    """Device that is not here to the cases that need it."""
    skips: tuple[Skip, ...]
    """Of the checked cases, those a run would leave out."""
    findings: tuple[Finding, ...]
    times: tuple[Expected, ...] = ()
    """Of the checked cases that a run would take, where it is known."""
    specs: tuple[CaseSpec, ...] = ()
    """All that were selected, those of devices that are not here among them."""
    whole: bool = False
    """Whether the command line selected nothing: these are all cases that the project's file picks."""

    @property
    def stops(self) -> bool:
        """Whether a case cannot work as planned."""
        return worst(self.findings) == "stop"


def check_matrix(options: CheckOptions, *, say: Callable[[str], None]) -> Checked:
    """Check every selected case whose device is here; ``say`` gets a line where it takes long.

    Raises:
        SpecError: a name in no table, or benchmarks that pytest cannot collect.
    """
    from emobench.cases.checks import Profiles, machine_of, preflight

    root = find_benchmarks()
    place = find_place(root)
    check_options(options.run, place)
    silenced = find_silenced([*options.silence, *place.project.settings.get("silence", ())])
    collected = collect(root, options)
    machines: dict[DeviceKind, Machine | None] = {}
    profiles = Profiles()
    checked: list[str] = []
    elsewhere: dict[str, int] = {}
    findings: list[Finding] = []
    for device in dict.fromkeys(spec.device for spec in collected.specs):
        used = sorted({spec.precision for spec in collected.specs if spec.device == device})
        machines[device] = machine_of(device, storage=collected.storage, probe=used)
    count = sum(machines[spec.device] is not None for spec in collected.specs)
    if count:
        say(f"checking {count} case{'' if count == 1 else 's'}")
    told = time.monotonic()
    for spec in collected.specs:
        machine = machines[spec.device]
        if machine is None:
            elsewhere[spec.device] = elsewhere.get(spec.device, 0) + 1
            continue
        checked.append(spec.id)
        findings += preflight(
            spec,
            storage=collected.storage,
            silenced=silenced,
            machine=machine,
            profiles=profiles,
            save_models=collected.save_models,
        )
        if time.monotonic() > told + SAY_SECONDS:
            told = time.monotonic()
            say(f"checked {len(checked)} of {count}")
    kept = set(checked)
    left_out = {skip.case_id for skip in collected.skips} | {item.case_id for item in findings if item.level == "stop"}
    taken = [spec for spec in collected.specs if spec.id in kept and spec.id not in left_out]
    return Checked(
        cases=tuple(checked),
        elsewhere=elsewhere,
        skips=tuple(skip for skip in collected.skips if skip.case_id in kept),
        findings=tuple(findings),
        times=tuple(expected_times(taken, profiles.mean_length, say=say)),
        specs=tuple(collected.specs),
        whole=not (options.select or options.mark or options.extra),
    )


def collect(root: Path, options: CheckOptions) -> Collected:
    """The cases that pytest collects under these options, in its order.

    Raises:
        SpecError: pytest could not collect; with the last line it said.
    """
    import pytest

    found = Collected()
    arguments = [str(root / BENCHMARKS), *pytest_options(root), f"--rootdir={root}"]
    arguments += ["--collect-only", "-qq", "--capture=no"]
    # Neither writes a cache nor takes over the process's fault handler.
    arguments += ["-p", "no:cacheprovider", "-p", "no:faulthandler"]
    arguments += [f"-k={options.select}"] if options.select else []
    arguments += [f"-m={options.mark}"] if options.mark else []
    arguments += [*options.run.arguments(), *options.extra]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main(arguments, plugins=[found])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        lines = [line.strip() for line in said.getvalue().splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error", "e  "))]
        raise SpecError(
            f"pytest could not collect the cases of {root / BENCHMARKS}",
            why=next(iter(errors or lines[-1:]), f"it ended with code {int(code)}"),
            fix="run: pytest benchmarks --collect-only",
        )
    return found


def check_text(checked: Checked) -> str:
    """The report for a terminal: a summary, every finding once with its count, and what a run would leave out."""
    from emobench.reports.tables import skip_lines

    counts = {level: len([g for g in grouped(checked.findings) if g.finding.level == level]) for level in LEVELS}
    told = ", ".join(f"{count} {level}" for level, count in counts.items() if count) or "nothing found"
    if not checked.cases and not checked.elsewhere:
        told = "no case fits these options; pytest benchmarks --collect-only -q lists all"
    lines = [f"{len(checked.cases)} case{'' if len(checked.cases) == 1 else 's'} checked: {told}"]
    for device, count in checked.elsewhere.items():
        lines.append(f"not checked: {count} on {device}, which is not on this machine")
    lines += ["", *finding_lines(checked.findings)] if checked.findings else []
    if checked.skips:
        lines += ["a run with these options leaves out, of the cases checked:", *skip_lines(checked.skips)]
    if checked.times:
        lines += [*([""] if lines[-1] else []), *expected_lines(checked.times)]
    return "\n".join(lines).rstrip()


def write_json(path: Path, checked: Checked) -> None:
    """Write every finding of every case; ``cases`` are what a run would take, ``skipped`` what it leaves out and why.

    Raises:
        SpecError: the path cannot be written.
    """
    skipped = {skip.case_id: {"reason": skip.reason, "fix": skip.fix} for skip in checked.skips}
    content = {
        "schema": SCHEMA,
        "cases": [name for name in checked.cases if name not in skipped],
        "skipped": skipped,
        "elsewhere": checked.elsewhere,
        "worst": worst(checked.findings),
        "findings": [item.as_dict() for item in checked.findings],
        "expected_seconds": {
            item.case.id: {"seconds": item.time.seconds, "low": item.time.low, "high": item.time.high}
            for item in checked.times
        },
    }
    try:
        write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise SpecError(f"--json: {path} cannot be written", why=str(error), fix="name another place") from error
