"""Options that several verbs take, each written once, and the exit codes. Does nothing with them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from emobench.commands.run import Placement, RunOptions

USAGE, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes: a wrong name or option, anything else that went wrong, Ctrl-C. ``run`` and its like pass pytest's on."""
BASELINE = 12
"""Exit code where a baseline cannot be used, or a run cannot become one."""

Everything = Annotated[bool, typer.Option("--all", help="Also the rows that no training case uses.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="smoke, quick (default), standard or full.")
]
Seeds = Annotated[int | None, typer.Option("--seeds", metavar="N", help="Training seeds a case.")]
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
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")]
RunNames = Annotated[list[str], typer.Argument(metavar="RUN", help="Path, number or start of a run, or latest.")]
BaseName = Annotated[str, typer.Argument(metavar="BASE", help="A baseline, or path, number or start of a run.")]
Form = Annotated[str, typer.Option("--format", metavar="FORM", help="text, markdown, csv or json.")]
Across = Annotated[
    bool, typer.Option("--across", help="Also compare what ran on other hardware or data, or as another profile.")
]


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Which cases a verb takes, and with which sizes."""

    select: Annotated[
        str | None, typer.Option("-k", metavar="EXPR", help="Only cases whose id fits, as pytest's -k.")
    ] = None
    mark: Annotated[
        str | None, typer.Option("-m", metavar="EXPR", help="Only cases with these markers, as pytest's -m.")
    ] = None
    profile: ProfileName = None
    seeds: Seeds = None
    slow: Annotated[bool, typer.Option("--slow", help="Also cases that are slow on their device.")] = False
    weights: WeightsKind = None
    download: Download = False
    settings: Settings = None
    silence: Annotated[
        list[str] | None,
        typer.Option("--silence", metavar="NAME", help="Leave out this check of emobench check; may be repeated."),
    ] = None

    def run_options(self) -> RunOptions:
        """The sizes, as ``commands`` takes them."""
        from emobench.commands.run import RunOptions

        return RunOptions(
            profile=self.profile,
            seeds=self.seeds,
            slow=self.slow,
            weights=self.weights,
            download=self.download,
            settings=tuple(self.settings or ()),
            silence=tuple(self.silence or ()),
        )


@dataclass(frozen=True, kw_only=True)
class Processes:
    """What ends with a case."""

    isolate: Annotated[
        bool,
        typer.Option("--isolate/--no-isolate", help="Each case in a fresh process, or all in one.", show_default=True),
    ] = True
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="End a case in its own process after so long; 4 hours, 0 for never."),
    ] = None

    def placement(self) -> Placement:
        """Where cases run, as ``commands`` takes it."""
        from emobench.commands.run import Placement

        given: dict[str, Any] = {**vars(self)}
        given["slurm"] = tuple(given.get("slurm") or ())
        return Placement(**given)


@dataclass(frozen=True, kw_only=True)
class Places(Processes):
    """On which machines cases run, and which part of them."""

    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where cases run: local, ray or slurm; each in a fresh process.")
    ] = None
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray: auto or HOST:PORT of a cluster. Slurm: slurm or local."),
    ] = None
    gpus_per_case: Annotated[float | None, typer.Option(metavar="N", help="GPUs of a case on cuda; 1.")] = None
    cpus_per_case: Annotated[int | None, typer.Option(metavar="N", help="Cores of a case elsewhere; 1.")] = None
    group_by: Annotated[
        str | None, typer.Option(metavar="WHAT", help="model: the cases of a model share a process.")
    ] = None
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of submitit, as slurm_partition=gpu; may be repeated."),
    ] = None
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Run the I-th of N equal parts; put together by emobench merge.")
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run; begins one where there is none.")
    ] = False


def say(line: str) -> None:
    """Tell on stderr what is no result."""
    typer.echo(line, err=True)


def spread(verb: Callable[..., None], *, without: Collection[str] = ()) -> Callable[..., None]:
    """The verb as Typer takes it: a parameter that is one of the dataclasses here becomes the options it holds.

    ``without`` names options that the verb does not offer; it gets their defaults.
    """
    signature = inspect.signature(verb, eval_str=True)
    bundles: dict[str, tuple[type, list[str]]] = {}
    offered: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        kind = parameter.annotation
        if not is_dataclass(kind):
            offered.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        assert isinstance(kind, type)
        hints = get_type_hints(kind, include_extras=True)
        held = [field for field in fields(kind) if field.name not in without]
        bundles[name] = (kind, [field.name for field in held])
        offered += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for field in held
        ]

    @functools.wraps(verb)
    def called(**given: Any) -> None:
        made = {name: kind(**{key: given.pop(key) for key in held}) for name, (kind, held) in bundles.items()}
        verb(**made, **given)

    called.__signature__ = signature.replace(parameters=offered)  # type: ignore[attr-defined]  # any function has one
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in offered}
    return called
