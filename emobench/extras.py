"""Optional packages: one function that imports one, or says which command installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from emobench.errors import MissingExtraError


def require(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import ``module``, or raise :class:`MissingExtraError` naming feature, package and install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{feature} needs the package {module!r}",
            why=f"it is not installed or does not import ({error})",
            fix=f'run: pip install "emobench[{extra}]"',
        ) from error
