"""How far is predicted memory from measured memory, on configurations that were not used to fit the prediction?

Slow and no cases of their own: run it with ``pytest benchmarks/test_estimate.py --emo-slow``.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.estimate.memory import MemoryPlan, estimate_memory
from emobench.specs import LoraTargets, ModelSpec
from fixtures.say import Say

if TYPE_CHECKING:
    import numpy as np

pytestmark = pytest.mark.slow

TUNING_SEED = 1
"""Configurations of this seed were looked at while the constants of the estimate were fitted."""
HELD_OUT_SEED = 20262
"""Configurations of this seed were not."""
CONFIGURATIONS = 25
LARGEST_BYTES = 2_000_000_000
"""Configurations expected to take more are not drawn."""
LIMIT = 0.10

KINDS = ("minilm", "gemma", "bert", "gpt2", "llama")


def configurations(seed: int, count: int = CONFIGURATIONS) -> list[MemoryPlan]:
    """Plans drawn by a seed: the five kinds of models in turn, all else at random."""
    import numpy as np

    rng = np.random.default_rng(seed)
    found: list[MemoryPlan] = []
    while len(found) < count:
        plan = draw(rng, KINDS[len(found) % len(KINDS)])
        if estimate_memory(plan, heap=False).total <= LARGEST_BYTES:
            found.append(plan)
    return found


def draw(rng: np.random.Generator, kind: str) -> MemoryPlan:
    """One plan of a kind of model."""
    model, pretrained = model_of(rng, kind)
    encoder = model.kind == "encoder"
    works = ["train", "train", "evaluate", "latency" if encoder else "generate"]
    work: Any = pick(rng, works)
    length = int(pick(rng, [32, 64, 96, 128, 192, 256, 384]))
    rows = int(pick(rng, [1, 2, 4, 8, 12, 16, 24, 32]))
    # A pass of more tokens than this takes minutes on two cores.
    rows = max(1, min(rows, (1536 if kind == "gemma" else 4096) // length))
    common: dict[str, Any] = {
        "model": model,
        "work": work,
        "device": "cpu",
        "batch_size": rows,
        "length": length,
        "pretrained": pretrained,
        "num_labels": int(pick(rng, [2, 5])),
    }
    if work != "train":
        precision = pick(rng, ["fp32", "fp32", "bf16", "int8"] if kind != "gpt2" else ["fp32", "fp32", "bf16"])
        tokens = {"new_tokens": int(pick(rng, [8, 16, 32])), "causal": True} if work == "generate" else {}
        return MemoryPlan(precision=precision, **tokens, **common | few_tokens(precision, rows, length))
    methods = {"gpt2": ["head", "full"], "gemma": ["head", "lora"]}.get(kind, ["head", "full", "lora"])
    method = METHODS[pick(rng, methods)]
    precision = pick(rng, ["fp32", "fp32", "fp32", "bf16"] + (["int8"] if method.id == "lora" else []))
    common |= few_tokens(precision, rows, length)
    return MemoryPlan(
        method=method,
        precision=precision,
        parts=int(pick(rng, [1, 1, 2])),
        gradient_checkpointing=bool(method.id != "head" and rng.random() < 0.25),
        attention=pick(rng, ["sdpa", "emobench"]) if kind in ("minilm", "bert", "llama") else "sdpa",
        **common,
    )


def few_tokens(precision: str, rows: int, length: int) -> dict[str, int]:
    """A smaller batch at bf16, which most CPUs emulate."""
    return {"batch_size": max(1, min(rows, 128 // length)), "length": min(length, 128)} if precision == "bf16" else {}


def model_of(rng: np.random.Generator, kind: str) -> tuple[ModelSpec, bool]:
    """The packaged models as they are, or an architecture of random size; and whether its weights are read."""
    if kind == "minilm":
        return find_model("all-minilm-l6-v2"), True
    if kind == "gemma":
        return find_model("gemma-3-270m-q4"), True
    width, layers = int(pick(rng, [256, 384, 512, 768, 1024])), int(pick(rng, [2, 4, 6, 8, 12]))
    vocabulary, heads = int(pick(rng, [8_000, 32_000, 50_257])), width // 64
    base = {"bert": "all-minilm-l6-v2", "gpt2": "tinyllama-1.1b", "llama": "tinyllama-1.1b"}[kind]
    row = find_model(base)
    config: dict[str, Any] = {**row.config, "vocab_size": vocabulary}
    if kind == "gpt2":
        config = {
            "model_type": "gpt2",
            "vocab_size": vocabulary,
            "n_positions": 1024,
            "n_embd": width,
            "n_layer": layers,
            "n_head": heads,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
        }
    else:
        config |= {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        config["intermediate_size"] = int(pick(rng, [2, 3, 4])) * width
    if kind == "llama":
        config["num_key_value_heads"] = int(pick(rng, [heads, max(1, heads // 4) if heads % 4 == 0 else heads]))
    targets = row.lora_targets
    if kind == "bert":
        numbered = tuple(f"{layer}.output.dense" for layer in range(layers))
        targets = LoraTargets(attention=targets.attention, mlp=("intermediate.dense", *numbered))
    update = {
        "id": f"{kind}-{layers}x{width}-v{vocabulary}",
        "config": config,
        "packaged": None,
        "lora_targets": targets,
    }
    return row.model_copy(update=update), False


def pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def test_predicted_memory(benchmark: Any, say: Say) -> None:
    """Predicted peaks are within 10 % of measured ones on the held-out grid, a fresh process a configuration.

    A process of one thread; its growth over what it held before its model was loaded, its libraries being imported.
    The C library maps each of its blocks by itself: how many holes its heap would keep differs from run to run.
    """
    report(benchmark, say, configurations(HELD_OUT_SEED), mapped=True)


def test_predicted_memory_with_a_heap(benchmark: Any, say: Say) -> None:
    """The same with the C library's usual heap, as cases have it: the median error is within 10 %.

    Every third configuration. What the heap keeps is a fitted share, and the same configuration measured twice differs.
    """
    report(benchmark, say, configurations(HELD_OUT_SEED)[::3], mapped=False)


@pytest.mark.cuda
def test_predicted_memory_on_a_gpu(benchmark: Any, say: Say) -> None:
    """Predicted peaks of the models of the hub are within 10 % of what the GPU's allocator saw, with random weights.

    What does not fit into the free memory, by its prediction, is left out.
    """
    from emobench.devices import find_device, free_memory_bytes

    if find_device("cuda") is None:
        pytest.skip("needs a CUDA device")
    room = free_memory_bytes("cuda")
    plans = [plan for plan in gpu_plans() if estimate_memory(plan).total < 0.9 * room]
    report(benchmark, say, plans, mapped=False, limit_worst=True)


def gpu_plans() -> list[MemoryPlan]:
    """A pass, a generation and the trainings of every row that comes from the hub, at two sizes each."""
    found: list[MemoryPlan] = []
    for model in MODELS.values():
        if model.packaged is not None:
            continue
        for rows, length in ((1, 128), (16, 256)):
            size: dict[str, Any] = {"model": model, "device": "cuda", "batch_size": rows, "length": length}
            found.append(MemoryPlan(work="latency", precision="bf16", pretrained=False, **size))
            if model.kind == "decoder":
                new = {"new_tokens": 32, "causal": True}
                found.append(MemoryPlan(work="generate", precision="bf16", pretrained=False, **new, **size))
            for method, precision in (("full", "bf16"), ("lora", "bf16"), ("lora", "nf4")):
                trained: dict[str, Any] = {"method": METHODS[method], "precision": precision}
                found.append(MemoryPlan(work="train", pretrained=False, **trained, **size))
    return found


def report(
    benchmark: Any,
    say: Say,
    plans: Sequence[MemoryPlan],
    *,
    mapped: bool,
    limit_worst: bool | None = None,
) -> None:
    """Measure and compare all plans, print and keep the distribution of errors, and hold it to the limit.

    Its worst is held to it where ``limit_worst`` says so or else every block is mapped, and its median elsewhere.
    """
    found: list[dict[str, Any]] = []
    remaining = iter(plans)

    def measure_all() -> None:
        found.extend(compare(plan, mapped=mapped) for plan in remaining)

    benchmark.pedantic(measure_all, rounds=1)
    errors = [abs(row["error"]) for row in found]
    within = sum(error <= LIMIT for error in errors) / len(errors)
    summary = {
        "seed": HELD_OUT_SEED if plans[0].device == "cpu" else None,
        "configurations": len(found),
        "every_block_mapped": mapped,
        "median_error": statistics.median(errors),
        "worst_error": max(errors),
        "share_within_limit": within,
    }
    benchmark.extra_info["estimate"] = {**summary, "rows": found}
    say(f"{table(found)}\n  {sentence(summary)}")
    judged = max(errors) if (mapped if limit_worst is None else limit_worst) else statistics.median(errors)
    assert judged <= LIMIT, sentence(summary)


def compare(plan: MemoryPlan, *, mapped: bool) -> dict[str, Any]:
    """One configuration measured and predicted, with the attention that ran."""
    from emobench.calibration.memory import describe, measure_apart

    measured = measure_apart(plan, mapped=mapped)
    if measured["attention"] in ("sdpa", "eager", "emobench"):
        plan = replace(plan, attention=measured["attention"])
    predicted = estimate_memory(plan, heap=not mapped)
    growth = int(measured["growth_bytes"])
    return {
        "plan": describe(plan),
        "predicted_bytes": predicted.total,
        "measured_bytes": growth,
        "error": predicted.total / growth - 1,
        "largest": predicted.largest()[0],
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The comparison as text, largest error first."""
    lines = [f"  {'predicted':>9} {'measured':>9} {'error':>7}  {'largest part':<12} configuration"]
    for row in sorted(rows, key=lambda row: -abs(row["error"])):
        sizes = f"{row['predicted_bytes'] / 1e6:>6.0f} MB {row['measured_bytes'] / 1e6:>6.0f} MB"
        lines.append(f"  {sizes} {100 * row['error']:>+6.1f}%  {row['largest']:<12} {row['plan']}")
    return "\n".join(lines)


def sentence(summary: dict[str, Any]) -> str:
    """The distribution of errors in one line."""
    return (
        f"{summary['configurations']} configurations"
        f"{'' if summary['seed'] is None else ' of seed ' + str(summary['seed'])}: median error "
        f"{100 * summary['median_error']:.1f} %, worst {100 * summary['worst_error']:.1f} %, "
        f"{100 * summary['share_within_limit']:.0f} % within {100 * LIMIT:.0f} %"
    )
