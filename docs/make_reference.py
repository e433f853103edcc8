"""Writes docs/reference.md from the code: options, verbs, metrics, sizes, checks, statuses and exit codes.

Run it as ``python docs/make_reference.py`` from the repository's root, with EmoBench installed. Only what no code
says is written here; ``tests/test_docs.py`` fails where the committed file is not what this makes.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from emobench import plugin, specs
from emobench.analysis.gates import INCOMPLETE, REGRESSION
from emobench.catalogue.combinations import PRECISIONS, rows
from emobench.catalogue.profiles import PROFILES
from emobench.cli import app
from emobench.cli.options import BASELINE, FAILED, INTERRUPTED, USAGE
from emobench.outcomes import METRICS, Status
from emobench.preflight.findings import CHECKS, DATA, DEVICE

FILE = Path(__file__).with_name("reference.md")
WIDTH, LONGEST = 100, 120

STATUSES: Mapping[Status, str] = {
    Status.OK: "It ran, and its figures can be used.",
    Status.DOES_NOT_FIT: "It needs more memory than there is, predicted or met; a result, shown as skipped.",
    Status.INVALID: "It ran and its figures are not to be used: disturbed, spread too wide, or not finite.",
    Status.FAILED: "It raised an error.",
    Status.TIMED_OUT: "It was ended at its time limit.",
    Status.LOST: "Nobody has a result of it: its process died, or its shard or machine was not heard of.",
    Status.INTERRUPTED: "Someone ended the session while it ran.",
}
EXIT_CODES: Sequence[tuple[int, str, str]] = (
    (0, "all", "All went well."),
    (FAILED, "all", "A test failed, or a case of `evaluate` or `check` did; another foreseen error."),
    (USAGE, "all", "A wrong name, option or setting; of pytest also: interrupted."),
    (3, "pytest", "An internal error; a run could not be saved; nothing can be measured here."),
    (4, "pytest", "A wrong option or setting."),
    (5, "pytest", "No test was collected."),
    (REGRESSION, "pytest, `gate`", "Something gated is worse."),
    (INCOMPLETE, "pytest, `gate`, `merge`", "A case was lost, or something gated is missing or invalid."),
    (BASELINE, "pytest, `emobench`", "The baseline cannot be used, or a run cannot become one."),
    (INTERRUPTED, "`emobench`", "Ended by Ctrl-C."),
    (143, "`run` and its like", "Ended by a termination (SIGTERM); what is finished is saved."),
)

HEAD = """\
# Reference

Every option, verb, metric, size, check, status and exit code. This file is made from the code by
`python docs/make_reference.py`; a test fails where it is not current.

- [Options of pytest](#options-of-pytest)
- [Verbs of emobench](#verbs-of-emobench)
- [Markers](#markers)
- [What goes together](#what-goes-together)
- [Profiles](#profiles)
- [Training settings](#training-settings)
- [Metrics](#metrics)
- [Checks](#checks)
- [Statuses](#statuses)
- [Exit codes](#exit-codes)
"""


class Options:
    """Takes what the plugin gives pytest's parser."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Mapping[str, Any]]] = []

    def getgroup(self, name: str, description: str) -> Options:
        return self

    def addoption(self, name: str, **fields: Any) -> None:
        self.found.append((name, fields))


def wrapped(text: str, *, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, but for the last one."""
    lines = [list(head), *(list(row) for row in body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    lines.insert(1, ["-" * width for width in (*widths, 3)])
    shown = ([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in shown)


def option_lines() -> str:
    """A line an option of pytest; defaults that the help does not name are added."""
    taken = Options()
    plugin.pytest_addoption(taken)  # type: ignore[arg-type]  # all that it asks of a parser
    return "\n".join(wrapped(option_line(name, fields), first="- ", rest="  ") for name, fields in taken.found)


def option_line(name: str, fields: Mapping[str, Any]) -> str:
    if "choices" in fields:
        value = " " + "|".join(fields["choices"])
    elif fields.get("nargs") == "?":
        value = f"[={fields['metavar']}]"
    else:
        value = f" {fields['metavar']}" if "metavar" in fields else ""
    default = fields.get("default")
    said = f" (default {default})" if default not in (None, []) and "default" not in fields["help"] else ""
    repeated = "; may be repeated" if fields.get("action") == "append" and "repeated" not in fields["help"] else ""
    return f"`{name}{value}`: {fields['help'].replace('%%', '%')}{said}{repeated}"


def verb_text(name: str, command: Any) -> str:
    """Usage, what it does, and a line an argument and an option."""
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    needed = [f"{item.opts[0]} {metavar(item)}".strip() for item in options if item.required]
    usage = " ".join(["emobench", name, *map(argument_form, arguments), *needed, *(["[OPTIONS]"] if options else [])])
    lines = [
        f"### {name}",
        "",
        *(
            part
            for item in inspect.cleandoc(command.help).split("\n\n")
            for part in (wrapped(" ".join(item.split())), "")
        ),
    ]
    lines += ["```text", usage, "```", ""]
    lines += [wrapped(f"`{metavar(item)}`: {item.help}", first="- ", rest="  ") for item in arguments if item.help]
    lines += [wrapped(verb_option(item), first="- ", rest="  ") for item in options]
    return "\n".join(lines).rstrip() + "\n"


def metavar(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    return str(parameter.metavar or parameter.name.upper())


def argument_form(argument: Any) -> str:
    name = metavar(argument).strip("[]") + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def verb_option(option: Any) -> str:
    names = ", ".join(option.opts) + "".join(f"/{name}" for name in option.secondary_opts)
    default = option.default
    given = default not in (None, (), [], "") and not callable(default) and not option.is_flag
    said = f" (default {default})" if given and str(default) not in option.help else ""
    if option.secondary_opts:
        said = f" (default {(option.opts if default else option.secondary_opts)[0]})"
    return f"`{' '.join(filter(None, (names, metavar(option))))}`: {option.help}{said}"


def field_docs(kind: type) -> dict[str, str]:
    """Field to the text below it in the source."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split()).replace("None", "none")
    return found


def number(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).lower()


def profiles() -> str:
    docs = field_docs(specs.Profile)
    names = [name for name in specs.Profile.model_fields if name != "id"]
    body = [[f"`{name}`", *(number(getattr(row, name)) for row in PROFILES.values())] for name in names]
    said = [wrapped(f"`{name}`: {docs[name]}", first="- ", rest="  ") for name in names if name in docs]
    return "\n".join([table(["size", *PROFILES], body), "", *said])


def training() -> str:
    docs, found = field_docs(specs.TrainSettings), specs.TrainSettings()
    return "\n".join(
        wrapped(
            f"`{name}` (default {number(getattr(found, name))}){': ' + docs[name] if name in docs else ''}",
            first="- ",
            rest="  ",
        )
        for name in specs.TrainSettings.model_fields
    )


def together() -> str:
    head = ["device", "case", *PRECISIONS]
    return table(head, [[row[name] for name in head] for row in rows()])


def metrics() -> str:
    better = {"higher": "higher", "lower": "lower", "none": "-"}
    head = ["metric", "unit", "better", "meaning"]
    width = max(map(len, METRICS)) + 2
    body = [[f"`{name}`", kind.unit, better[kind.better], kind.meaning] for name, kind in METRICS.items()]
    lines = (head, ["-" * width, *["---"] * 3], *body)
    padded = [(f"| {' | '.join([name.ljust(width), *rest])} |", name, rest) for name, *rest in lines]
    return "\n".join(
        line if len(line) <= LONGEST else f"| {' | '.join([name, *rest])} |" for line, name, rest in padded
    )


def reference() -> str:
    """The whole file."""
    group: Any = get_command(app)
    checks = [(f"`{check.name}`", check.meaning) for check in CHECKS]
    checks += [(f"`{DATA}`", "the data cannot be used"), (f"`{DEVICE}`", "the device is not on this machine")]
    parts = [
        HEAD,
        "## Options of pytest\n",
        "They come with the plugin, which every pytest session of an environment with EmoBench has.\n"
        "`emobench run` and its like have most of them without `emo-`.\n",
        option_lines() + "\n",
        "## Verbs of emobench\n",
        *(verb_text(name, command) for name, command in group.commands.items()),
        "## Markers\n",
        "For `-m`, of pytest and of `emobench run`.\n",
        table(["marker", "meaning"], [(f"`{name}`", meaning) for name, meaning in plugin.MARKERS.items()]) + "\n",
        "## What goes together\n",
        "`inference` stands for generation and evaluation too. `emobench doctor` says why the others do not.\n",
        together() + "\n",
        "## Profiles\n",
        "`--emo-profile NAME`; `--emo-set` and `[profile]` of `emobench.toml` change single sizes.\n",
        profiles() + "\n",
        "## Training settings\n",
        "For `--emo-set KEY=VALUE` and `[train]` of `emobench.toml`.\n",
        training() + "\n",
        "## Metrics\n",
        "A record has those that its kind of case measures. `share` is a number from 0 to 1.\n",
        metrics() + "\n",
        "## Checks\n",
        "Asked by `emobench check` and before each case; `--silence NAME` leaves one out.\n",
        table(["check", "looks at"], checks) + "\n",
        "## Statuses\n",
        table(["status", "meaning"], [(f"`{status}`", STATUSES[status]) for status in Status]) + "\n",
        "## Exit codes\n",
        "`emobench run`, `benchmark`, `train-all` and `train` pass pytest's on.\n",
        table(["code", "of", "meaning"], [(str(code), of, meaning) for code, of, meaning in EXIT_CODES]) + "\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
