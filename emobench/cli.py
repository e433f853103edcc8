"""The command line: options and exit codes. What a verb does is in ``commands``, imported when the verb runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from emobench.errors import BaselineError, EmoBenchError, SpecError

if TYPE_CHECKING:
    from emobench.commands.running import Placement

USAGE, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: a wrong name or option, anything else that went wrong, Ctrl-C. ``run`` and its like pass pytest's on."""
BASELINE = 12
"""Exit code where a baseline cannot be used, or a run cannot become one."""


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
Isolate = Annotated[
    bool, typer.Option("--isolate/--no-isolate", help="Each case in a fresh process, or all in one.", show_default=True)
]
TimeLimit = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="End a case in its own process after so long; 4 hours, 0 for never."),
]
DeviceName = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda or mps; the best one here if not given.")
]


@app.command()
def doctor(
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure the smallest difference this machine can show; about 30 s.")
    ] = False,
) -> None:
    """Show what this machine has and what can run here."""
    from emobench.commands.doctor import doctor_text
    from emobench.commands.place import find_place

    if noise:
        from emobench.commands.noise import noise_text

        typer.echo(noise_text(find_place(), say=_say))
        return
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
    isolate: Isolate = True,
    time_limit: TimeLimit = None,
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where cases run: local, ray or slurm; each in a fresh process.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray: auto or HOST:PORT of a cluster. Slurm: slurm or local."),
    ] = None,
    gpus_per_case: Annotated[float | None, typer.Option(metavar="N", help="GPUs of a case on cuda; 1.")] = None,
    cpus_per_case: Annotated[int | None, typer.Option(metavar="N", help="Cores of a case elsewhere; 1.")] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="WHAT", help="model: the cases of a model share a process.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of submitit, as slurm_partition=gpu; may be repeated."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Run the I-th of N equal parts; put together by emobench merge.")
    ] = None,
) -> None:
    """Run benchmark cases, each in a process of its own.

    pytest runs them, and its exit code is passed on; 11: a case was lost; 130 after Ctrl-C, 143 after a termination.
    """
    from emobench.commands.running import Placement

    placement = Placement(
        isolate=isolate,
        time_limit=time_limit,
        executor=executor,
        address=address,
        gpus_per_case=gpus_per_case,
        cpus_per_case=cpus_per_case,
        group_by=group_by,
        slurm=tuple(slurm or ()),
        shard=shard,
    )
    _run_part(None, extra, select, mark, profile, seeds, slow, weights, download, settings, placement)


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
    isolate: Isolate = True,
    time_limit: TimeLimit = None,
) -> None:
    """Run the inference and generation cases only."""
    from emobench.commands.running import LATENCY, Placement

    placement = Placement(isolate=isolate, time_limit=time_limit)
    _run_part(LATENCY, extra, select, mark, profile, None, slow, weights, download, settings, placement)


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
    isolate: Isolate = True,
    time_limit: TimeLimit = None,
) -> None:
    """Run the fine-tuning cases only."""
    from emobench.commands.running import TRAINING, Placement

    placement = Placement(isolate=isolate, time_limit=time_limit)
    _run_part(TRAINING, extra, select, mark, profile, seeds, slow, weights, download, settings, placement)


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


@app.command()
def bless(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The baseline's name, such as main.")],
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also a run with failed, invalid or missing cases.")
    ] = False,
) -> None:
    """Make saved runs a baseline that later runs are compared with.

    Several runs of the same code show how much runs differ. A baseline is replaced only by this command.
    """
    from emobench.commands.blessing import bless_text
    from emobench.commands.place import find_place

    typer.echo(bless_text(names, name, find_place(), allow_incomplete=allow_incomplete))


Form = Annotated[str, typer.Option("--format", metavar="FORM", help="text, markdown, csv or json.")]
Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here.")]
Across = Annotated[
    bool, typer.Option("--across", help="Also compare what ran on other hardware or data, or as another profile.")
]


@app.command()
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A baseline, or path, number or start of a run.")],
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
    output: Output = None,
) -> None:
    """Compare saved runs case by case.

    Differences come with their interval; a verdict also needs a p that holds after correction for all rows.
    """
    from emobench.commands.comparing import CompareOptions, compare_text, put
    from emobench.commands.place import find_place

    options = CompareOptions(by=by, metrics=tuple(metric or ()), only=tuple(only or ()), form=form, across=across)
    typer.echo(put(compare_text(base, new, find_place(), options), output))


@app.command()
def gate(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A baseline, or path, number or start of a run.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The run to gate; also latest.")],
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC:LIMIT", help="Such as accuracy:1pt or accuracy>=0.80; may be repeated."),
    ] = None,
    inconclusive: Annotated[
        str, typer.Option(metavar="CHOICE", help="pass or fail: what too little data comes to.")
    ] = "pass",
    across: Across = False,
    form: Form = "text",
    output: Output = None,
) -> None:
    """Fail if a run got worse than limits allow.

    Exit code 10: something is worse. 11: something is missing or invalid. 12: the baseline cannot be used.
    """
    from emobench.commands.comparing import put
    from emobench.commands.gating import gate_run
    from emobench.commands.place import find_place

    found = gate_run(base, new, limit or (), find_place(), inconclusive=inconclusive, across=across, form=form)
    typer.echo(put(found.text, output))
    if output is not None:
        typer.echo(found.summary)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


@app.command()
def report(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")],
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
    from emobench.commands.place import find_place
    from emobench.commands.reporting import report_text

    typer.echo(report_text(names, find_place(), to=to, latency_target_ms=latency_target, history=history))


@app.command()
def rank(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")],
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="quality, speed, memory or balanced (default).")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=W", help="Weight of a metric, in place of a preset; may be repeated."),
    ] = None,
    by: Annotated[str, typer.Option(metavar="WHAT", help="case or model: each model's best case.")] = "case",
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="text, markdown, csv or json.")] = "text",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the resampling.")] = 0,
) -> None:
    """Put the cases of a run in order by weighted metrics.

    Ties inside the error bar share a rank; the Pareto front and how stable each rank is stand beside it.
    """
    from emobench.commands.place import find_place
    from emobench.commands.ranking import rank_text

    typer.echo(rank_text(name, find_place(), preset=preset, weights=weight or (), by=by, form=form, seed=seed))


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")],
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="github-action-benchmark, bencher, mlflow, tensorboard or trackio."),
    ],
    output: Annotated[Path, typer.Option(metavar="PATH", help="File (bencher, mlflow) or folder to write.")],
) -> None:
    """Hand a saved run to another tool.

    Nothing is run or sent: files are written that the tool reads.
    """
    from emobench.commands.exporting import export_text
    from emobench.commands.place import find_place

    typer.echo(export_text(name, find_place(), to=to, output=output))


@app.command()
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
    from emobench.commands.dashboard import show_dashboard
    from emobench.commands.place import find_place

    show_dashboard(find_place(), storage=storage, host=host, port=port, say=_say)


@app.command()
def init(
    device: DeviceName = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A data set by id, or a CSV, JSONL or Parquet file."),
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the texts of a file.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the labels of a file.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="finetune, inference or generation.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="A model of emobench models.")] = None,
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="full, lora or head.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="fp32, bf16, fp16, int8, int8-bnb or nf4.")
    ] = None,
    batch_size: Annotated[str | None, typer.Option(metavar="N", help="Examples of a step.")] = None,
    profile: ProfileName = None,
    epochs: Annotated[str | None, typer.Option(metavar="N", help="Passes over the training rows.")] = None,
    learning_rate: Annotated[str | None, typer.Option(metavar="RATE", help="The peak.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N", help="Training seeds.")] = None,
    tracking: Annotated[str | None, typer.Option(metavar="NAME", help="none, mlflow, tensorboard or trackio.")] = None,
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

    flags = {
        "device": device,
        "data": data,
        "text": text,
        "label": label,
        "task": task,
        "model": model,
        "method": method,
        "precision": precision,
        "batch-size": batch_size,
        "profile": profile,
        "epochs": epochs,
        "learning-rate": learning_rate,
        "seeds": seeds,
        "tracking": tracking,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    if not yes and not at_terminal() and (lacking := lacking_flags(given)):
        _say("\n".join(["there is no terminal to ask at; give these, or --yes for their defaults:", *lacking]))
        raise typer.Exit(USAGE)
    options = InitOptions(given=given, yes=yes, force=force, output=output, quiet=quiet)
    if not init(options, say=typer.echo):
        raise typer.Exit(FAILED)


@app.command()
def check(
    extra: Extra = None,
    select: Select = None,
    mark: Mark = None,
    profile: ProfileName = None,
    seeds: Seeds = None,
    slow: Slow = False,
    weights: WeightsKind = None,
    settings: Settings = None,
    silence: Annotated[
        list[str] | None, typer.Option("--silence", metavar="NAME", help="Leave out this check; may be repeated.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every finding of every case here.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put the fixes that change no result into emobench.toml, and show them.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Check nothing: compare predictions with saved runs, and keep corrections."),
    ] = False,
) -> None:
    """Check what emobench run would do, without running it.

    Takes the same cases, and says what does not fit, cannot work or will not give what was wanted, why, and what to
    change. Exit code 1: a case cannot work as planned.
    """
    if calibrate:
        from emobench.commands.calibrating import calibrate_project

        typer.echo(calibrate_project(json_file))
        return
    from emobench.commands.checking import CheckOptions, check_matrix, check_text, fix_project, write_json
    from emobench.commands.running import RunOptions

    run_options = RunOptions(profile=profile, seeds=seeds, slow=slow, weights=weights, settings=tuple(settings or ()))
    options = CheckOptions(
        run=run_options, select=select, mark=mark, silence=tuple(silence or ()), extra=tuple(extra or ())
    )
    checked = check_matrix(options, say=_say)
    if fix:
        told = fix_project(checked, given=settings or ())
        typer.echo(f"{told.text}\n")
        checked = check_matrix(options, say=_say) if told.changed else checked
    typer.echo(check_text(checked))
    if json_file is not None:
        write_json(json_file, checked)
    if checked.stops:
        raise typer.Exit(FAILED)


@app.command()
def analyze(
    given: Annotated[str, typer.Argument(metavar="PATH_OR_NAME", help="A file, a folder, or a data set.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count the tokens of this one; all-minilm-l6-v2 if it is here.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", metavar="COLUMN", help="Column of texts, guessed if not given; repeated, all are joined."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of labels, guessed if not given.")] = None,
    encoding: Annotated[str | None, typer.Option(metavar="NAME", help="Such as cp1252; utf-8 if not given.")] = None,
    unit: Annotated[str, typer.Option(metavar="WHAT", help="A document of plain text is a line or a file.")] = "auto",
    sample: Annotated[
        float, typer.Option(metavar="PERCENT", help="Look at this share of the documents, 5 to 100.")
    ] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sample.")] = 0,
    contexts: Annotated[
        str | None, typer.Option(metavar="N,N", help="Contexts in tokens to give the truncated share for.")
    ] = None,
    no_language: Annotated[
        bool, typer.Option("--no-language", help="Do not tell languages; they take longest.")
    ] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep an earlier analysis.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the analysis here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page of it here.")] = None,
) -> None:
    """Look at data before training on it.

    Lengths in tokens and what each context cuts off, labels, quality, repetitions, language, kind of text, and what
    that suggests. Nothing is downloaded and no model is loaded.
    """
    from emobench.commands.analyzing import AnalyzeOptions, numbers_of, show_analysis

    options = AnalyzeOptions(
        given=given,
        model=model,
        text=text or (),
        label=label,
        encoding=encoding,
        unit=unit,
        sample=sample,
        seed=seed,
        contexts=numbers_of(contexts),
        language=not no_language,
        cache=not no_cache,
    )
    show_analysis(options, json_file=json_file, html_file=html_file, say=_say, put=typer.echo)


@app.command()
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
    from emobench.commands.merging import merge_runs
    from emobench.commands.place import find_place

    found = merge_runs(runs, find_place(), to=to, allow_mixed_commits=allow_mixed_commits)
    typer.echo(found.text)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


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
    placement: Placement,
) -> None:
    from emobench.commands.running import RunOptions, run_matrix

    options = RunOptions(
        profile=profile, seeds=seeds, slow=slow, weights=weights, download=download, settings=tuple(settings or ())
    )
    code = run_matrix(options, select=select, mark=mark, only=only, placement=placement, extra=extra or ())
    raise typer.Exit(code)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="emobench")
