"""What a plan really takes, measured in a fresh process, ``python -m emobench.calibration.memory``, that reads a plan.

The work is the product's own (its loading, training loop, prediction and generation) on random tokens. Reported is the
growth of the process's peak resident memory, or of the device's peak, over what it held before the model was loaded.
A run of a tiny model of the same architecture comes first: it pays for imports, which are not the plan's. Predicts
nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emobench.errors import LostProcessError
from emobench.estimate.plan import OWN_ATTENTION, MemoryPlan
from emobench.specs import MethodSpec, ModelSpec

if TYPE_CHECKING:
    from emobench.data.encode import Encoded

TIMEOUT_SECONDS = 900.0
SHORTEST_SHARE = 0.85
"""Rows of a batch have between this share of the plan's length and all of it: batches of the product are by length."""

MAPPED_FROM = 128 << 10
"""Bytes from which a block is mapped by itself where that is asked for: glibc's first threshold, held fast."""

STEPS = 4
"""Optimizer steps of a measured training: from the second on the optimizer's state exists."""

_TINY = {
    "vocab_size": 128,
    "hidden_size": 32,
    "n_embd": 32,
    "dim": 32,
    "intermediate_size": 48,
    "hidden_dim": 48,
    "n_inner": 48,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "n_layer": 2,
    "num_attention_heads": 4,
    "n_heads": 4,
    "n_head": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Sizes of the model that is run first; numbers a configuration has not are not added."""


def to_json(plan: MemoryPlan) -> str:
    """A plan as text."""
    content = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    content["model"] = plan.model.model_dump(mode="json")
    content["method"] = plan.method.model_dump(mode="json") if plan.method else None
    return json.dumps(content)


def from_json(text: str) -> MemoryPlan:
    """The plan that :func:`to_json` wrote."""
    content = json.loads(text)
    content["model"] = ModelSpec.model_validate(content["model"])
    content["method"] = MethodSpec.model_validate(content["method"]) if content["method"] else None
    return MemoryPlan(**content)


def measure_apart(plan: MemoryPlan, *, threads: int = 1, mapped: bool = False) -> dict[str, Any]:
    """:func:`measure_here` in a fresh process; run once more where it had to time attention kernels first.

    ``mapped`` has glibc map every block of 128 KiB or more by itself, so that its heap keeps no holes: what is measured
    is the tensors' memory.

    Raises:
        LostProcessError: the process ended without a result.
    """
    settings = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if mapped:
        settings["MALLOC_MMAP_THRESHOLD_"] = str(MAPPED_FROM)
    found = _run(plan, settings)
    return _run(plan, settings) if found["timed_kernels"] else found


def _run(plan: MemoryPlan, settings: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "emobench.calibration.memory"],
        input=to_json(plan),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, **settings},
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LostProcessError(
            f"measuring {plan.model.id} in a process of its own ended with code {done.returncode}",
            why=said,
            fix="run the plan with fewer rows, or free memory",
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_here(plan: MemoryPlan) -> dict[str, Any]:
    """Load the plan's model, do its work, and tell what that took.

    ``growth_bytes`` is of the device where the plan has one, of the process's resident memory on a CPU;
    ``after_load_bytes`` and ``load_peak_bytes`` are the same after loading alone; ``attention`` is what ran, and
    ``timed_kernels`` whether choosing it took memory of its own.
    """
    from emobench.files import cache_folder
    from emobench.measurement.usage import watch_memory
    from emobench.models.quantize_embedding import read_all

    tiny = _tiny(plan)
    _work(tiny, load_plan(tiny))
    kernels = cache_folder("kernels")
    before = set(os.listdir(kernels)) if kernels.exists() else set()
    with watch_memory(plan.device) as loading:
        loaded = load_plan(plan)
        # Weights of a mapped file would else count only where these few tokens happen to touch them.
        read_all(loaded.model)
    with watch_memory(plan.device) as working:
        attention = _work(plan, loaded)
    after = set(os.listdir(kernels)) if kernels.exists() else set()
    if plan.device == "cuda":
        peaks = [loading.device_peak or 0, working.device_peak or 0]
        start, settled = 0, int(loading.device_allocated or 0)
    else:
        peaks = [loading.host_peak or 0, working.host_peak or 0]
        start, settled = loading.host_start, working.host_start
    return {
        "growth_bytes": max(peaks) - start,
        "load_peak_bytes": peaks[0] - start,
        "after_load_bytes": settled - start,
        "work_peak_bytes": peaks[1] - start,
        "model_bytes": loaded.model_bytes,
        "attention": attention,
        "timed_kernels": before != after,
    }


def _tiny(plan: MemoryPlan) -> MemoryPlan:
    config = {name: _TINY.get(name, value) for name, value in plan.model.config.items()}
    if "layer_types" in config:
        config["layer_types"] = ["sliding_attention", "full_attention"]
    model = plan.model.model_copy(update={"config": config})
    return replace(plan, model=model, batch_size=2, length=8, new_tokens=min(plan.new_tokens, 3), pretrained=False)


def load_plan(plan: MemoryPlan) -> Any:
    """The plan's model: a classifier with random or packaged weights, or a language model for generation."""
    from emobench.models.load import load_causal_lm, load_classifier

    common: dict[str, Any] = {
        "precision": plan.precision,
        "device": plan.device,
        "weights": "pretrained" if plan.pretrained else "random",
    }
    if plan.work == "generate":
        return load_causal_lm(plan.model, **common)
    names = [str(index) for index in range(plan.num_labels)]
    return load_classifier(plan.model, num_labels=plan.num_labels, class_names=names, method=plan.method, **common)


def _work(plan: MemoryPlan, loaded: Any) -> str:
    """Do the plan's work and name the attention that ran."""
    if plan.work == "train":
        return _train(plan, loaded.model)
    if plan.work == "evaluate":
        return _evaluate(plan, loaded.model)
    from emobench.measurement.forward import forward_pass, logits_of, random_prompts
    from emobench.measurement.generation import generate

    prompts = random_prompts(
        int(plan.model.config["vocab_size"]), rows=plan.batch_size, tokens=plan.length, device=plan.device
    )
    if plan.work == "generate":
        generate(loaded.model, prompts, plan.new_tokens)
    else:
        forward_pass(logits_of(loaded.model), prompts)()
    return str(loaded.model.config._attn_implementation)


def _train(plan: MemoryPlan, model: Any) -> str:
    from emobench.specs import TrainSettings
    from emobench.training.fit import fit
    from emobench.training.plan import FitPlan

    rows = plan.batch_size * plan.parts
    own = plan.device == "cpu" and plan.model.config["model_type"] in OWN_ATTENTION
    settings = TrainSettings(
        batch_size=rows,
        token_budget=plan.batch_size * plan.length,
        gradient_checkpointing=plan.gradient_checkpointing,
    )
    fitted = fit(
        model,
        plan_tokens(plan, 2 * rows),
        FitPlan(
            device=plan.device,
            precision=plan.precision,
            seed=0,
            epochs=STEPS / 2,
            learning_rate=1e-5,
            settings=settings,
            kernel=plan.attention if own else None,
        ),
    )
    return fitted.kernel


def _evaluate(plan: MemoryPlan, model: Any) -> str:
    from emobench.evaluation.labels import predict

    return predict(
        model,
        plan_tokens(plan, 3 * plan.batch_size),
        device=plan.device,
        pad_id=0,
        padding_side="right",
        token_budget=plan.batch_size * plan.length,
    ).kernel


def plan_tokens(plan: MemoryPlan, rows: int) -> Encoded:
    """Random rows of nearly the plan's length; the longest has all of it."""
    import numpy as np

    from emobench.data.encode import Encoded

    rng = np.random.default_rng(0)
    lengths = rng.integers(max(1, int(SHORTEST_SHARE * plan.length)), plan.length + 1, rows)
    lengths[0] = plan.length
    vocabulary = int(plan.model.config["vocab_size"])
    return Encoded(
        ids=rng.integers(vocabulary // 2, vocabulary, int(lengths.sum()), dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=(np.arange(rows) % plan.num_labels).astype(np.int64),
    )


def describe(plan: MemoryPlan) -> str:
    """A plan in one short line."""
    method = plan.method.id if plan.method else "-"
    extra = "".join(
        [
            f"+{plan.new_tokens}" if plan.new_tokens else "",
            f" /{plan.parts}" if plan.parts > 1 else "",
            " checkpointed" if plan.gradient_checkpointing else "",
        ]
    )
    size = f"{plan.batch_size}x{plan.length}{extra}"
    return f"{plan.model.id} {plan.work} {method} {plan.precision} {plan.attention} {size}"


def _main() -> None:
    found: Mapping[str, Any] = measure_here(from_json(sys.stdin.read()))
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    _main()
