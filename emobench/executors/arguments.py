"""Arguments: what a process that runs one case is given of what this session was given.

The settings files and ``PYTEST_ADDOPTS`` say the same there as here, so only the command line matters. What selects
cases, what writes files at the end of a session and what starts more processes is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LEFT_OUT = frozenset(
    {
        *("-x", "--exitfirst", "--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
        *("--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset"),
        *("--co", "--collect-only", "--pdb", "--trace", "-f", "--looponfail", "--benchmark-autosave"),
        "--emo-isolate",
    }
)
"""Options without a value."""
LEFT_OUT_WITH_ANY = frozenset({"--cov", "--benchmark-compare", "--benchmark-histogram", "--emo-resume"})
"""Options that take the next word as their value if it does not begin with a dash."""
LEFT_OUT_WITH_VALUE = frozenset(
    {
        *("-k", "-m", "-n", "--numprocesses", "--maxprocesses", "--dist", "--tx", "-d", "--maxfail", "--deselect"),
        *("--ignore", "--ignore-glob", "--junitxml", "--junit-xml", "--junitprefix", "--basetemp", "--lfnf"),
        *("--last-failed-no-failures", "--benchmark-save", "--benchmark-json", "--benchmark-compare-fail", "--rootdir"),
        *("--emo-time-limit", "--emo-executor", "--emo-address", "--emo-gpus-per-case", "--emo-cpus-per-case"),
        *("--emo-shard", "--emo-slurm", "--cov-report", "--cov-config", "--cov-fail-under"),
    }
)
WHOLE_RUN = frozenset({"--emo-baseline", "--emo-gate", "--emo-inconclusive"})
"""Options about the run that is put together at the end; a machine elsewhere may not have the baseline."""
_SHORT = ("-k", "-m", "-n")
"""Short options whose value may follow without a space."""
_TAKES_VALUE = frozenset({"-p", "-c", "-o", "-W", "-r", "--config-file", "--override-ini", "--confcutdir"})
"""Options that stay, and whose next word is their value and no test."""


def case_arguments(given: Sequence[str], tests: Iterable[str], *, elsewhere: bool) -> list[str]:
    """Those of the ``given`` arguments of pytest that also count for one case alone.

    ``tests`` are the arguments that name files and tests (``config.args``). ``elsewhere``: the case runs on another
    machine, where gates are not judged.
    """
    with_value = LEFT_OUT_WITH_VALUE | (WHOLE_RUN if elsewhere else frozenset())
    named = {str(name) for name in tests}
    kept: list[str] = []
    words = [*given]
    while words:
        word = words.pop(0)
        name, has_value, _ = word.partition("=")
        if word in with_value or (word in LEFT_OUT_WITH_ANY and words and not words[0].startswith("-")):
            del words[:1]
        elif name in LEFT_OUT | LEFT_OUT_WITH_ANY | with_value or word[:2] in _SHORT:
            continue
        elif word in _TAKES_VALUE:
            kept += [word, *words[:1]]
            del words[:1]
        elif has_value or word.startswith("-") or word not in named:
            kept.append(word)
    return kept
