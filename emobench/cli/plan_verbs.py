"""Verbs before a run: the wizard that writes the settings, and the check of what they plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from emobench.cli.options import FAILED, USAGE, Cases, DeviceName, ProfileName, say


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the wizard asks, given as flags."""

    device: DeviceName = None
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A data set by id, or a CSV, JSONL or Parquet file."),
    ] = None
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the texts of a file.")] = None
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the labels of a file.")] = None
    task: Annotated[str | None, typer.Option(metavar="TASK", help="finetune, inference or generation.")] = None
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="A model of emobench models.")] = None
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="full, lora or head.")] = None
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="fp32, bf16, fp16, int8, int8-bnb or nf4.")] = (
        None
    )
    batch_size: Annotated[str | None, typer.Option(metavar="N", help="Examples of a step.")] = None
    profile: ProfileName = None
    epochs: Annotated[str | None, typer.Option(metavar="N", help="Passes over the training rows.")] = None
    learning_rate: Annotated[str | None, typer.Option(metavar="RATE", help="The peak.")] = None
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Training seeds.")] = None
    tracking: Annotated[str | None, typer.Option(metavar="NAME", help="none, mlflow, tensorboard or trackio.")] = None


def init(
    answers: Answers,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here; the project's emobench.toml if not given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the default of what is not given, and write.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what was written.")] = False,
) -> None:
    """Plan a run in ten steps and write emobench.toml.

    Asks at a terminal what no flag answers. Without a terminal every flag has to be given, or --yes.
    """
    from emobench.commands.init import InitOptions, at_terminal, init, lacking_flags

    given = {name.replace("_", "-"): value for name, value in vars(answers).items() if value is not None}
    if not yes and not at_terminal() and (lacking := lacking_flags(given)):
        say("\n".join(["there is no terminal to ask at; give these, or --yes for their defaults:", *lacking]))
        raise typer.Exit(USAGE)
    options = InitOptions(given=given, yes=yes, force=force, output=output, quiet=quiet)
    if not init(options, say=typer.echo):
        raise typer.Exit(FAILED)


def check(
    cases: Cases,
    extra: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PYTEST_ARGUMENTS | RUN]",
            help="After --, passed on as they are; with --calibrate, saved runs or folders of them.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every finding of every case here.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put the fixes that change no result into emobench.toml, and show them.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Check nothing: compare predictions with saved runs, and keep corrections.",
        ),
    ] = False,
) -> None:
    """Check what emobench run would do, without running it.

    Takes the same cases, and says what does not fit, cannot work or will not give what was wanted, why, and what to
    change. Exit code 1: a case cannot work as planned.
    """
    if calibrate:
        from emobench.commands.calibrate import calibrate_project

        typer.echo(calibrate_project(extra or (), json_file, say=say))
        return
    from emobench.commands.check import CheckOptions, check_matrix, check_text, write_json
    from emobench.commands.fix import fix_project

    options = CheckOptions(
        run=cases.run_options(),
        select=cases.select,
        mark=cases.mark,
        silence=tuple(cases.silence or ()),
        extra=tuple(extra or ()),
    )
    checked = check_matrix(options, say=say)
    if fix:
        told = fix_project(checked, given=cases.settings or ())
        typer.echo(f"{told.text}\n")
        checked = check_matrix(options, say=say) if told.changed else checked
    typer.echo(check_text(checked))
    if json_file is not None:
        write_json(json_file, checked)
    if checked.stops:
        raise typer.Exit(FAILED)
