"""The command line: verbs in the order of the help, and errors as one line with an exit code. What a verb does is in
``commands``, imported when the verb runs."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from emobench.cli import case_verbs as cases
from emobench.cli import data_verbs as data
from emobench.cli import plan_verbs as plans
from emobench.cli import saved_verbs as saved
from emobench.cli.options import BASELINE, FAILED, INTERRUPTED, USAGE, spread
from emobench.errors import BaselineError, EmoBenchError, SpecError


class OneLineErrors(TyperGroup):
    """Shows an error that a user can cause as its one line; any other is our fault, and its traceback stays."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EmoBenchError as error:
            typer.echo(str(error), err=True)
            code = USAGE if isinstance(error, SpecError) else BASELINE if isinstance(error, BaselineError) else FAILED
            raise typer.Exit(code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


# Without rich and completion the help is there in a tenth of a second.
app = typer.Typer(
    cls=OneLineErrors,
    help="Train, evaluate and time small language models on your own hardware.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for verb in (
    data.doctor,
    data.models,
    data.datasets,
    data.fetch,
    spread(cases.run),
    spread(cases.benchmark, without={"seeds"}),
    spread(cases.train_all),
    cases.train,
    cases.evaluate,
    saved.runs,
    saved.bless,
    saved.compare,
    saved.gate,
    saved.report,
    saved.rank,
    saved.export,
    saved.dashboard,
    spread(plans.init),
    spread(plans.check, without={"download"}),
    data.analyze,
    saved.merge,
):
    app.command()(verb)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="emobench")
