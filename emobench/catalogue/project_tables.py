"""Tables of the user's file: checked against the fields of a spec, with errors that name file, table and key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from emobench import errors
from emobench.catalogue.row_numbers import LARGEST
from emobench.catalogue.toml_file import shown
from emobench.specs import Profile, Spec, TrainSettings

SIZES = tuple(name for name in Profile.model_fields if name != "id")

ABOVE_ZERO = frozenset({*SIZES, "learning_rate"})

S = TypeVar("S", bound=Spec)


def check_keys(given: Mapping[str, Any], known: Sequence[str], *, file: Path, table: str) -> None:
    """Raise :class:`errors.SpecError` for a key that is not known, naming the nearest one."""
    for key in given:
        if key not in known:
            raise errors.unknown_name(f"key in {_place(file, table)}:", key, known)


def validated(kind: type[S], given: dict[str, Any], *, file: Path, table: str) -> S:
    """Check a table strictly: text is no number and true is not 1. JSON mode lets lists become tuples."""
    check_keys(given, tuple(kind.model_fields), file=file, table=table)
    try:
        return kind.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise errors.SpecError(
                f"[{table}] of {file} has no {first['loc'][0]}", why="it is needed", fix=f"add {first['loc'][0]} = ..."
            ) from error
        key = ".".join(str(part) for part in first["loc"] if part not in ("str", "dict[str,any]"))
        if first["type"] == "literal_error" and isinstance(first["input"], str):
            names = re.findall(r"'([^']*)'", first["ctx"]["expected"])
            # Of a list the name is wrong, whichever it is.
            what = re.sub(r"\.\d+$", "", key)
            raise errors.unknown_name(f"{what} in {_place(file, table)}:", first["input"], names) from error
        raise bad_value(key, first["input"], file, table, why=_in_toml_words(first["msg"])) from error


def _in_toml_words(message: str) -> str:
    words = message.replace("an object", "a table").replace("Tuple", "list").replace(" after validation", "")
    return words[0].lower() + words[1:]


def bad_value(key: str, value: Any, file: Path, table: str, *, why: str) -> errors.SpecError:
    """The error of a value that cannot be used; ``table`` is empty at the top of the file."""
    problem = f"{key} = {shown(value)} in {_place(file, table)} cannot be used"
    return errors.SpecError(problem, why=why, fix="correct the value")


def _place(file: Path, table: str) -> str:
    return f"[{table}] of {file}" if table else str(file)


def check_numbers(values: Mapping[str, Any], *, file: Path, table: str) -> None:
    """Raise :class:`errors.SpecError` for the first number that makes no sense."""
    for key, value in values.items():
        if not is_sensible(key, value):
            raise bad_value(key, value, file, table, why=f"it takes {wanted(key)}")


def is_sensible(key: str, value: Any) -> bool:
    """Every number is finite, none negative and none beyond all use. Narrower limits stand in the specs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return math.isfinite(value) and (value > 0 if key in ABOVE_ZERO else value >= 0) and value <= LARGEST


def wanted(key: str) -> str:
    """What a setting takes, in words."""
    schema = (Profile if key in SIZES else TrainSettings).model_json_schema()["properties"][key]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema.get("type") == "boolean":
        return "true or false"
    types = [part["type"] for part in schema.get("anyOf", [schema])]
    noun = "a whole number" if "integer" in types else "a number"
    above_zero = key in ABOVE_ZERO or "exclusiveMinimum" in schema
    limit = "above 0" if above_zero else f"of at least {schema.get('minimum', 0)}"
    return f"{noun} {limit}{' or none' if 'null' in types else ''}"
