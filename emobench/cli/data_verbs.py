"""Verbs about this machine, the tables and data: what is here, what could be, what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emobench.cli.options import Everything, say


def doctor(
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure the smallest difference this machine can show; about 30 s.")
    ] = False,
) -> None:
    """Show what this machine has and what can run here."""
    from emobench.commands.doctor import doctor_text
    from emobench.commands.project_place import find_place

    if noise:
        from emobench.commands.noise import noise_text

        typer.echo(noise_text(find_place(), say=say))
        return
    typer.echo(doctor_text(find_place()))


def models(everything: Everything = False) -> None:
    """List the models and which are on this machine."""
    from emobench.commands.lists import models_text
    from emobench.commands.project_place import find_place

    typer.echo(models_text(find_place(), everything=everything))


def datasets(everything: Everything = False) -> None:
    """List the data sets and which are on this machine."""
    from emobench.commands.lists import datasets_text
    from emobench.commands.project_place import find_place

    typer.echo(datasets_text(find_place(), everything=everything))


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
    from emobench.commands.fetch import fetch_all
    from emobench.commands.project_place import find_place

    fetch_all(names, find_place(), revision=revision, from_file=from_file, endpoint=endpoint, say=typer.echo)


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
    download: Annotated[
        bool, typer.Option("--download", help="Ask the hub for a data set that is not here, as owner/name.")
    ] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep an earlier analysis.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the analysis here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page of it here.")] = None,
) -> None:
    """Look at data before training on it.

    Lengths in tokens and what each context cuts off, labels, quality, repetitions, language, kind of text, and what
    that suggests. Nothing is downloaded without --download, and no model is loaded.
    """
    from emobench.commands.analyzer import AnalyzeOptions, numbers_of, show_analysis

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
        download=download,
    )
    show_analysis(options, json_file=json_file, html_file=html_file, say=say, put=typer.echo)
