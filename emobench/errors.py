"""Every error a user can cause, in three parts: what is wrong, why, and what to do.

The classes stay few and each subclasses a builtin, so that callers who know nothing of EmoBench can catch them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EmoBenchError(Exception):
    """Base of every error a user can cause.

    ``problem`` names the thing and its value, ``why`` gives the cause, ``fix`` says what to do. The text is one line.
    """

    def __init__(self, problem: str, *, why: str, fix: str) -> None:
        super().__init__(f"{problem}; {why}; {fix}")
        self.problem = problem
        self.why = why
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.why, self.fix))


def _rebuild(kind: type[EmoBenchError], problem: str, why: str, fix: str) -> EmoBenchError:
    return kind(problem, why=why, fix=fix)


class SpecError(EmoBenchError, ValueError):
    """A name or an option value that means nothing."""


class DataError(EmoBenchError, ValueError):
    """Rows that cannot be trained or evaluated on; names file, row and remedy."""


class NotOnMachineError(EmoBenchError, FileNotFoundError):
    """Weights or data that are not here; names the command that fetches them."""


class FetchError(EmoBenchError, ConnectionError):
    """A download that failed: no network, no permission, no such revision."""


class UnsupportedError(EmoBenchError, RuntimeError):
    """Something this device, precision or method combination cannot do."""


class DoesNotFitError(EmoBenchError, MemoryError):
    """Something larger than the memory that is free, found before anything was allocated."""


class NonFiniteLossError(EmoBenchError, ArithmeticError):
    """A training loss that is NaN or infinite; names the step."""


class ChangedAnswersError(EmoBenchError, ArithmeticError):
    """An export or a compilation gives other answers than the model it was made from, beyond rounding."""


class BrokenFileError(EmoBenchError, OSError):
    """A file of weights, a checkpoint or a saved run that is incomplete or was changed."""


class BaselineError(EmoBenchError, OSError):
    """A baseline that cannot be used, or a run that cannot become one. Nothing else is taken in its place."""


class LostProcessError(EmoBenchError, ChildProcessError):
    """A process of a case that runs in several has died or hangs; names its rank and exit code."""


class MissingExtraError(EmoBenchError, ImportError):
    """An optional package that is not installed; made by ``extras.require``."""


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``given``, ignoring case, or None where nothing is like it."""
    by_folded = {name.casefold(): name for name in known}
    folded = given.casefold()
    inside = [name for key, name in by_folded.items() if folded and (folded in key or key in folded)]
    close = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.5)
    if close:
        return by_folded[close[0]]
    return min(inside, key=len) if inside else None


def unknown_name(kind: str, given: str, known: Iterable[str]) -> SpecError:
    """Build the error for a name that is not in a table: names the nearest known one and lists the rest."""
    names = sorted(known)
    guess = nearest(given, names)
    return SpecError(
        f"unknown {kind} {given!r}",
        why=f"known are {', '.join(names)}",
        fix=f"did you mean {guess!r}?" if guess else "take one of these",
    )
