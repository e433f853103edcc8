"""Label names: what classes are called that were given no names. It reads no checkpoint."""

from __future__ import annotations


def generic_names(count: int) -> tuple[str, ...]:
    """What transformers calls classes without names."""
    return tuple(f"LABEL_{index}" for index in range(count))
