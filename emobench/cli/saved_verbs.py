"""Verbs of saved runs: listed, blessed, compared, gated, ranked, reported, exported, shown and merged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emobench.cli.options import Across, BaseName, Form, RunName, RunNames, say


def runs() -> None:
    """List the saved runs, oldest first."""
    from emobench.commands.lists import runs_text
    from emobench.commands.project_place import find_place

    typer.echo(runs_text(find_place()))


def bless(
    names: RunNames,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The baseline's name, such as main.")],
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also a run with failed, invalid or missing cases.")
    ] = False,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Keep predictions of these cases, those gated, alone; may be repeated."),
    ] = None,
) -> None:
    """Make saved runs a baseline that later runs are compared with.

    Several runs of the same code show how much runs differ. A baseline is replaced only by this command. Predictions of
    all cases are kept, so that each can be gated, unless --case names some.
    """
    from emobench.commands.bless import bless_text
    from emobench.commands.project_place import find_place

    typer.echo(bless_text(names, name, find_place(), allow_incomplete=allow_incomplete, cases=tuple(case or ())))


def compare(
    base: BaseName,
    new: Annotated[list[str], typer.Argument(metavar="NEW", help="Runs to compare with it; also latest.")],
    by: Annotated[str | None, typer.Option(metavar="AXIS", help="Group by model, dataset, method or device.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Compare these metrics; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="VERDICTS", help="Show these verdicts alone, such as worse,invalid.")
    ] = None,
    across: Across = False,
    form: Form = "text",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Compare saved runs case by case.

    Differences come with their interval; a verdict also needs a p that holds after correction for all rows.
    """
    from emobench.commands.compare import CompareOptions, compare_text, put
    from emobench.commands.project_place import find_place

    options = CompareOptions(by=by, metrics=tuple(metric or ()), only=tuple(only or ()), form=form, across=across)
    typer.echo(put(compare_text(base, new, find_place(), options), output))


def gate(
    base: BaseName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The run to gate; also latest.")],
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC:LIMIT", help="Such as accuracy:1pt or accuracy>=0.80; may be repeated."),
    ] = None,
    inconclusive: Annotated[
        str, typer.Option(metavar="CHOICE", help="pass or fail: what too little data comes to.")
    ] = "pass",
    across: Across = False,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Gate times, speeds, energy and price; not if run elsewhere.")
    ] = True,
    form: Form = "text",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Fail if a run got worse than limits allow.

    Exit code 10: something is worse. 11: something is missing or invalid. 12: the baseline cannot be used.
    """
    from emobench.commands.compare import put
    from emobench.commands.gate import gate_run
    from emobench.commands.project_place import find_place

    found = gate_run(
        base, new, limit or (), find_place(), inconclusive=inconclusive, across=across, times=times, form=form
    )
    typer.echo(put(found.text, output))
    if output is not None:
        typer.echo(found.summary)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def report(
    names: RunNames,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder the files are written into.")],
    latency_target: Annotated[
        float | None, typer.Option(metavar="MS", help="Largest median latency of a batch to deploy.")
    ] = None,
    history: Annotated[
        int, typer.Option(metavar="N", help="Follow metrics over up to N runs of the same folder; 0 leaves it out.")
    ] = 20,
) -> None:
    """Sum up saved runs in words, tables and pictures.

    Writes report.html (one page that needs no network), report.pdf, report.md, report.csv, report.json and the
    pictures.
    """
    from emobench.commands.project_place import find_place
    from emobench.commands.report import report_text

    typer.echo(report_text(names, find_place(), to=to, latency_target_ms=latency_target, history=history))


def rank(
    name: RunName,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="quality, speed, memory or balanced (default).")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=W", help="Weight of a metric, in place of a preset; may be repeated."),
    ] = None,
    by: Annotated[str, typer.Option(metavar="WHAT", help="case or model: each model's best case.")] = "case",
    form: Form = "text",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the resampling.")] = 0,
) -> None:
    """Put the cases of a run in order by weighted metrics.

    Ties inside the error bar share a rank; the Pareto front and how stable each rank is stand beside it.
    """
    from emobench.commands.project_place import find_place
    from emobench.commands.rank import rank_text

    typer.echo(rank_text(name, find_place(), preset=preset, weights=weight or (), by=by, form=form, seed=seed))


def export(
    name: RunName,
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="github-action-benchmark, bencher, mlflow, tensorboard or trackio."),
    ],
    output: Annotated[Path, typer.Option(metavar="PATH", help="File (bencher, mlflow) or folder to write.")],
) -> None:
    """Hand a saved run to another tool.

    Nothing is run or sent: files are written that the tool reads.
    """
    from emobench.commands.export import export_text
    from emobench.commands.project_place import find_place

    typer.echo(export_text(name, find_place(), to=to, output=output))


def dashboard(
    storage: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of saved runs; the project's results if not given.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="A loopback address; no other is taken.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0 takes a free one.")] = 7860,
) -> None:
    """Show the saved runs in a browser on this machine.

    Nothing is sent or loaded from anywhere else; Ctrl-C ends it.
    """
    from emobench.commands.live_page import show_dashboard
    from emobench.commands.project_place import find_place

    show_dashboard(find_place(), storage=storage, host=host, port=port, say=say)


def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Saved runs, or folders of runs.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of saved runs; the project's results if not given.")
    ] = None,
    allow_mixed_commits: Annotated[
        bool, typer.Option("--allow-mixed-commits", help="Also runs of different commits or manifests.")
    ] = False,
) -> None:
    """Make one run of several that ran parts of one matrix.

    Refuses runs of other commits or profiles and cases with two results. Exit code 11: a case has no result.
    """
    from emobench.commands.merge import merge_runs
    from emobench.commands.project_place import find_place

    found = merge_runs(runs, find_place(), to=to, allow_mixed_commits=allow_mixed_commits)
    typer.echo(found.text)
    if found.exit_code:
        raise typer.Exit(found.exit_code)
