"""A model in a process of its own: how long it takes to load, and how much memory it holds there.

In the process that trained it, what earlier work left would hide what the model takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emobench.cases.case import Case

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from emobench.models.load import LoadedModel

ALONE_ROWS, ALONE_TOKENS = 1, 128
"""The batch that a model computes in a process of its own."""


def measure_alone(case: Case, loaded: LoadedModel, *, keep: bool = False) -> dict[str, Any]:
    """Save a model, load it in a fresh process and run one batch there; what that took, see :func:`memory_alone`.

    ``keep`` leaves the saved model beside the journal.
    """
    from emobench.models.load import load_tokenizer
    from emobench.models.quantize_embedding import save_int8
    from emobench.models.save import save_model

    with tempfile.TemporaryDirectory(prefix="emobench-shrink-") as temporary:
        folder = case.folder / "models" / case.file_name if keep else Path(temporary)
        if loaded.quantization is not None:
            save_int8(loaded.model, folder)
        else:
            save_model(loaded, None, folder)
        if keep:
            if case.spec.weights != "random":
                load_tokenizer(loaded.spec).save_pretrained(folder)
            case.artifacts["model"] = str(folder.relative_to(case.folder))
        code = "import sys; from emobench.recipes.loaded_alone import print_alone; print_alone(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(folder), case.spec.device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        disk = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"loading the model in a process of its own ended with code {done.returncode}: {said}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "disk_bytes": disk}


def print_alone(folder: str, device: Any) -> None:
    """The other process: print :func:`memory_alone` as the last line."""
    sys.stdout.write("\n" + json.dumps(memory_alone(Path(folder), device)) + "\n")


def memory_alone(folder: Path, device: Any) -> dict[str, Any]:
    """Load a saved model and run one batch; seconds of the load, and memory of both above what the process had.

    ``host_growth_bytes`` is the growth of the peak (None where the kernel does not tell it), ``host_settled_bytes``
    what stays resident. The first load and batch are thrown away: they pay for imports. Every weight is read once:
    those of a mapped file would else count only where the batch happens to touch them.
    """
    import time

    import psutil
    import torch

    from emobench.measurement.usage import give_back_free_memory, watch_memory
    from emobench.models.quantize_embedding import read_all

    ids = torch.full((ALONE_ROWS, ALONE_TOKENS), 5, device=device)
    mask = torch.ones_like(ids)

    def load_and_run() -> tuple[PreTrainedModel, float]:
        started = time.perf_counter()
        model = load_saved(folder, device)
        seconds = time.perf_counter() - started
        with torch.inference_mode():
            read_all(model)
            model(input_ids=ids, attention_mask=mask)
        return model, seconds

    load_and_run()
    with watch_memory(device) as usage:
        model, seconds = load_and_run()
    give_back_free_memory(device)
    settled = psutil.Process().memory_info().rss - usage.host_start
    assert not model.training
    return {
        "load_seconds": seconds,
        "host_growth_bytes": None if usage.host_peak is None else usage.host_peak - usage.host_start,
        "host_settled_bytes": settled,
        "device_peak_bytes": usage.device_peak,
    }


def load_saved(folder: Path, device: Any) -> PreTrainedModel:
    """Load what a shrink case saved, whatever its method was."""
    from emobench.models import quantize_embedding
    from emobench.models.save import reload_classifier

    if (folder / quantize_embedding.RECORD_FILE).exists():
        return quantize_embedding.load_int8(folder, device=device)
    return reload_classifier(folder, device=device).model
