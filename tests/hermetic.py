"""The environment that tests run in: the same whatever the one is that pytest was started in.

Applied once, by the process that a person starts, before torch is imported; workers and what tests start inherit it.
A test that needs a variable sets it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

TESTS = Path(__file__).parent
IN_CI = "EMOBENCH_TESTS_IN_CI"
"""Holds ``1`` where the session was started with ``CI`` set, which tests and what they start do not see."""

_FAMILIES = (
    *("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_", "KAGGLE_", "EMOBENCH_", "GRADIO_", "MLFLOW_", "TRACKIO_"),
    *("RAY_", "SLURM_", "SUBMITIT_", "ACCELERATE_", "FSDP_", "TORCH", "OMP_", "MKL_", "GITHUB_", "LC_", "XDG_"),
)
_NAMES = (
    *("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "PYTEST_DEBUG", "PYTEST_PLUGINS", "PYTEST_THEME"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "PYTHONIOENCODING"),
    *("LANG", "LANGUAGE", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "CXX", "MPLBACKEND", "MPLCONFIGDIR", "PYTHONTRACEMALLOC"),
)


def settle(environment: MutableMapping[str, str]) -> Path:
    """Take out what decides a result, put in what tests stand on; return the folder that is their home.

    It is made anew and holds nothing but a link to packaged weights that were converted on this machine before: what a
    user's own home holds, or whether it can be written, makes no difference. Whoever asks for it removes it.
    """
    usual = _models_of(environment)
    in_ci = bool(environment.get("CI"))
    for name in [name for name in environment if name in _NAMES or name.startswith(_FAMILIES)]:
        del environment[name]
    home = Path(tempfile.mkdtemp(prefix="emobench-tests-"))
    cache = home / ".cache" / "emobench"
    cache.mkdir(parents=True)
    if usual.is_dir():
        (cache / "models").mkdir()
        for folder in usual.glob("gemma-3-270m-q4"):
            (cache / "models" / folder.name).symlink_to(folder.resolve())
    environment |= {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "EMOBENCH_CACHE": str(cache),
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
        # Workers that each take every core slow one another down many times over.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        IN_CI: "1" if in_ci else "",
    }
    return home


def _models_of(environment: Mapping[str, str]) -> Path:
    """Where a user's own sessions keep weights, as ``emobench.files.cache_folder`` has it."""
    base = environment.get("EMOBENCH_CACHE")
    home = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
    return Path(base) / "models" if base else Path(home, "emobench", "models")


def settles(arguments: Iterable[str], environment: Mapping[str, str]) -> bool:
    """Whether a session is to run in it: one of tests alone, begun by a person and not by a session of tests.

    Benchmarks in the same session want the user's own environment: weights, threads, devices.
    """
    is_worker = IN_CI in environment and "PYTEST_XDIST_WORKER" in environment
    paths = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    return not is_worker and all(path.is_relative_to(TESTS) for path in paths)
