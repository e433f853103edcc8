"""Secrets: takes credentials and user names out of texts before they reach a page or an export.

It knows forms, not values: user and password in an address, tokens of well-known services, values named like a secret,
and the user's name in a home folder. The saved run itself stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emobench.records.record import Record
from emobench.records.store import Run

HIDDEN = "***"

# Every repetition that can begin anywhere is bounded: a text of many thousand characters takes a time in proportion.
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:token@host/..., also without a password.
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@]{1,500}@", re.IGNORECASE), r"\1"),
    # user@host:path of git over ssh.
    (re.compile(r"(?<![\w.@-])[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63}){0,9}):(?=[\w~/.])"), r"\1:"),
    (
        re.compile(
            r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{16,}"
            r"|pypi-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
        ),
        HIDDEN,
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # token=..., API_KEY: ..., --password ...
    (
        re.compile(
            r"""(?P<name>(?:token|password|passwd|secret|credential|api[_-]?key|access[_-]?key)s?["']?)"""
            r"""(?P<sign>\s*[=:]\s*["']?)(?P<value>[^\s"',;&]{4,})""",
            re.IGNORECASE,
        ),
        rf"\g<name>\g<sign>{HIDDEN}",
    ),
    (re.compile(r"(?<![\w.])/(?:home|Users)/[^/\s\"':;,]+"), "~"),
    (re.compile(r"\b[A-Za-z]:\\Users\\[^\\\s\"':;,]+", re.IGNORECASE), "~"),
)
_NAME = re.compile(r"[\w-]*(?:token|password|passwd|secret|credential|api[_-]?key|access[_-]?key)s?", re.IGNORECASE)
_COUNTS = re.compile(r"^\d[\d,._]*$")
"""A number is no secret: ``prompt_tokens: 128``."""


def redact(text: str) -> str:
    """The text with every secret of a known form taken out."""
    for pattern, instead in _FORMS:
        text = pattern.sub(_named if "value" in pattern.groupindex else instead, text)
    return text


def _named(found: re.Match[str]) -> str:
    if _COUNTS.match(found["value"]):
        return found[0]
    return f"{found['name']}{found['sign']}{HIDDEN}"


def redacted(value: Any) -> Any:
    """Plain values with every text of them redacted, keys of objects included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            redact(str(key)): HIDDEN if isinstance(item, str) and _NAME.fullmatch(str(key)) else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        if all(isinstance(item, int | float) for item in value):
            return value
        return type(value)(
            HIDDEN if _is_value_of(before, item) else redacted(item)
            for before, item in zip((None, *value), value, strict=False)
        )
    return value


def _is_value_of(option: Any, value: Any) -> bool:
    """Whether a list has an option such as ``--token`` and then its value."""
    if not (isinstance(option, str) and isinstance(value, str) and option.startswith("-")):
        return False
    return _NAME.fullmatch(option) is not None and not _COUNTS.match(value)


def without_secrets(run: Run) -> Run:
    """The run with every text that a page may show redacted; figures and rounds are the same."""
    return replace(
        run,
        machine_info=redacted(run.machine_info),
        commit_info=redacted(run.commit_info),
        settings=redacted(run.settings),
        skipped=tuple(redacted(run.skipped)),
        manifest=tuple(redacted(run.manifest)),
        notes=tuple(redacted(run.notes)),
        records=tuple(_record(record) for record in run.records),
        timings={redact(case): rounds for case, rounds in run.timings.items()},
    )


def _record(record: Record) -> Record:
    return replace(
        record,
        case=redacted(record.case),
        reasons=tuple(redacted(record.reasons)),
        artifacts=redacted(record.artifacts),
        environment=redacted(record.environment),
        details=redacted(record.details),
    )
