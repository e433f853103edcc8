"""The command line: options and exit codes. What a verb does is in ``commands``, imported when the verb runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from emobench.errors import EmoBenchError, SpecError

USAGE, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: a wrong name or option, anything else that went wrong, Ctrl-C. ``run`` and its like pass pytest's on."""


class OneLineErrors(TyperGroup):
    """Shows an error that a user can cause as its one line; any other is our fault, and its traceback stays."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EmoBenchError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(USAGE if isinstance(error, SpecError) else FAILED) from None
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

Everything = Annotated[bool, typer.Option("--all", help="Also the rows that no training case uses.")]
Select = Annotated[str | None, typer.Option("-k", metavar="EXPR", help="Only cases whose id fits, as pytest's -k.")]
Mark = Annotated[str | None, typer.Option("-m", metavar="EXPR", help="Only cases with these markers, as pytest's -m.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="smoke, quick (default), standard or full.")
]
Seeds = Annotated[int | None, typer.Option("--seeds", metavar="N", help="Training seeds a case.")]
Slow = Annotated[bool, typer.Option("--slow", help="Also cases that are slow on their device.")]
WeightsKind = Annotated[
    str | None,
    typer.Option("--weights", metavar="KIND", help="pretrained (default) or random: speed and memory only."),
]
Download = Annotated[bool, typer.Option("--download", help="Ask the hub for weights and data that are not here.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one size or training setting; may be repeated."),
]
Extra = Annotated[list[str] | None, typer.Argument(metavar="PYTEST_ARGUMENTS", help="After --; passed on as they are.")]
DeviceName = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or mps; the best one here if not given.")
]


@app.command()
def doctor() -> None:
    """Show what this machine has and what can run here."""
    from emobench.commands.doctor import doctor_text
    from emobench.commands.place import find_place

    typer.echo(doctor_text(find_place()))


@app.command()
def models(everything: Everything = False) -> None:
    """List the models and which are on this machine."""
    from emobench.commands.listing import models_text
    from emobench.commands.place import find_place

    typer.echo(models_text(find_place(), everything=everything))


@app.command()
def datasets(everything: Everything = False) -> None:
    """List the data sets and which are on this machine."""
    from emobench.commands.listing import datasets_text
    from emobench.commands.place import find_place

    typer.echo(datasets_text(find_place(), everything=everything))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Models or data sets, by id.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit in place of the row's.")] = None,
    from_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A Kaggle archive, or the file in it, downloaded by hand.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="Base address of a mirror.")] = None,
) -> None:
    """Download models and data sets.

    The commit that each resolved to is recorded.
    """
    from emobench.commands.fetching import fetch_all
    from emobench.commands.place import find_place

    fetch_all(names, find_place(), revision=revision, from_file=from_file, endpoint=endpoint, say=typer.echo)


@app.command()
def run(
    extra: Extra = None,
    select: Select = None,
    mark: Mark = None,
    profile: ProfileName = None,
    seeds: Seeds = None,
    slow: Slow = False,
    weights: WeightsKind = None,
    download: Download = False,
    settings: Settings = None,
) -> None:
    """Run benchmark cases.

    pytest runs them, and its exit code is passed on; after Ctrl-C the exit code is 130.
    """
    _run_part(None, extra, select, mark, profile, seeds, slow, weights, download, settings)


@app.command()
def benchmark(
    extra: Extra = None,
    select: Select = None,
    mark: Mark = None,
    profile: ProfileName = None,
    slow: Slow = False,
    weights: WeightsKind = None,
    download: Download = False,
    settings: Settings = None,
) -> None:
    """Run the inference and generation cases only."""
    from emobench.commands.running import LATENCY

    _run_part(LATENCY, extra, select, mark, profile, None, slow, weights, download, settings)


@app.command()
def train_all(
    extra: Extra = None,
    select: Select = None,
    mark: Mark = None,
    profile: ProfileName = None,
    seeds: Seeds = None,
    slow: Slow = False,
    weights: WeightsKind = None,
    download: Download = False,
    settings: Settings = None,
) -> None:
    """Run the fine-tuning cases only."""
    from emobench.commands.running import TRAINING

    _run_part(TRAINING, extra, select, mark, profile, seeds, slow, weights, download, settings)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A model of emobench models.")],
    data: Annotated[str, typer.Option(metavar="DATASET", help="A data set of emobench datasets.")],
    method: Annotated[str, typer.Option(metavar="METHOD", help="head, full or lora.")],
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fp32, bf16, fp16, int8, int8-bnb or nf4; by device if not given."),
    ] = None,
    device: DeviceName = None,
    profile: ProfileName = None,
    seeds: Seeds = None,
    weights: WeightsKind = None,
    download: Download = False,
    settings: Settings = None,
    save: Annotated[bool, typer.Option("--save", help="Keep the trained model in the run's folder.")] = False,
    extra: Extra = None,
) -> None:
    """Fine-tune and evaluate one model on one data set.

    This is one case of emobench run, taken however slow it is.
    """
    from emobench.commands.running import RunOptions, train_one

    options = RunOptions(
        profile=profile, seeds=seeds, weights=weights, download=download, settings=tuple(settings or ())
    )
    code = train_one(
        options,
        model=model,
        dataset=data,
        method=method,
        precision=precision,
        device=device,
        extra=[*(["--emo-save-models"] if save else []), *(extra or ())],
    )
    raise typer.Exit(code)


@app.command()
def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT", help="Folders with a saved model or adapter, or a classifier."),
    ],
    data: Annotated[str, typer.Option(metavar="DATASET", help="A data set of emobench datasets.")],
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="The model that adapters belong on.")] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="test, validation or all.")] = "test",
    profile: ProfileName = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(metavar="RAW=CLASS", help="A class of the model and the data's class it is; may be repeated."),
    ] = None,
    device: DeviceName = None,
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="As trained, or fp32, if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the records here.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write labels and probabilities here, as Parquet.")
    ] = None,
    metric: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Also score with this module of the evaluate library; it is run as code."),
    ] = None,
) -> None:
    """Score saved classifiers on a data set.

    Nothing is trained. A checkpoint is a folder that EmoBench saved, a peft adapter on a model of the table, or any
    transformers sequence classifier, whose classes are matched by name or by --label-map.
    """
    from emobench.commands.evaluating import EvaluateOptions, evaluate_checkpoints, evaluation_text, write_json
    from emobench.commands.place import find_place

    options = EvaluateOptions(
        checkpoints=checkpoints,
        dataset=data,
        base=base,
        split=split,
        profile=profile,
        label_map=label_map or (),
        device=device,
        precision=precision,
        predictions=predictions,
        metrics=metric or (),
    )
    records = evaluate_checkpoints(options, find_place(), say=_say)
    typer.echo(evaluation_text(records, split=split))
    if json_file is not None:
        write_json(json_file, records)
    if any(record.status.value != "ok" for record in records):
        raise typer.Exit(FAILED)


@app.command()
def runs() -> None:
    """List the saved runs, oldest first."""
    from emobench.commands.listing import runs_text
    from emobench.commands.place import find_place

    typer.echo(runs_text(find_place()))


def _run_part(
    only: str | None,
    extra: list[str] | None,
    select: str | None,
    mark: str | None,
    profile: str | None,
    seeds: int | None,
    slow: bool,
    weights: str | None,
    download: bool,
    settings: list[str] | None,
) -> None:
    from emobench.commands.running import RunOptions, run_matrix

    options = RunOptions(
        profile=profile, seeds=seeds, slow=slow, weights=weights, download=download, settings=tuple(settings or ())
    )
    raise typer.Exit(run_matrix(options, select=select, mark=mark, only=only, extra=extra or ()))


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="emobench")
