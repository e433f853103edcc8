"""Operations counted from the configuration, against torch's own counter on models with spelled-out attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from emobench.catalogue.methods import METHODS
from emobench.catalogue.model_rows import MODELS, find_model
from emobench.estimate.flops import forward_flops, plan_products
from emobench.estimate.plan import MemoryPlan
from emobench.measurement.generation import CACHE
from emobench.models.architecture import row_config
from emobench.models.first_token import only_first_token
from emobench.specs import ModelSpec
from tests.models.models_under_test import two_layers

ROWS, LENGTH = 3, 20


def plan(model: ModelSpec, **fields: Any) -> MemoryPlan:
    usual: dict[str, Any] = {
        "model": model,
        "work": "latency",
        "precision": "fp32",
        "device": "cpu",
        "batch_size": ROWS,
        "length": LENGTH,
    }
    return MemoryPlan(**{**usual, **fields})


def counted(model: Any, *, backward: bool = False, length: int = LENGTH) -> int:
    """Operations of matrix products, as torch counts them."""
    ids = torch.randint(10, 100, (ROWS, length))
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops())


def operations(made: MemoryPlan) -> float:
    """All operations of the plan's unit of work."""
    return plan_products(made).total


def eager(row: ModelSpec, *, causal: bool = False) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto: Any = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    config = row_config(row, None if causal else ("a", "b"))
    return auto.from_config(config, attn_implementation="eager").train(False)


@pytest.mark.parametrize("name", MODELS)
def test_forward_pass_of_a_classifier(name: str) -> None:
    """A forward pass has exactly the operations torch counts, attention's products and the head included."""
    row = two_layers(name)
    assert operations(plan(row)) == counted(eager(row))


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "distilbert-base", "roberta-base"])
def test_first_token_of_the_last_layer(name: str) -> None:
    """Scoring computes an encoder's last layer for one token; the count follows."""
    row = two_layers(name)
    model = eager(row)
    only_first_token(model)
    ids = torch.randint(10, 100, (ROWS, LENGTH))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert operations(plan(row, work="evaluate")) == counter.get_total_flops()


@pytest.mark.parametrize("name", ["tinyllama-1.1b", "gemma-3-270m", "phi-3-mini"])
def test_language_models(name: str) -> None:
    """A language model's logits of every token are counted, and training is three times the forward pass."""
    row = two_layers(name)
    made = plan(row, work="evaluate", causal=True)
    assert operations(made) == counted(eager(row, causal=True))
    trained = plan(row, work="train", method=METHODS["full"])
    assert operations(trained) == counted(eager(row), backward=True)


def test_a_generation_is_its_passes() -> None:
    """The prompt's pass and one pass a further token over a growing cache, each with one token's logits."""
    row = two_layers("tinyllama-1.1b")
    one = operations(plan(row, work="generate", causal=True, new_tokens=1))
    three = operations(plan(row, work="generate", causal=True, new_tokens=3))
    model = eager(row, causal=True)
    with FlopCounterMode(display=False) as counter:
        state = model(input_ids=torch.randint(10, 100, (ROWS, LENGTH)), use_cache=True, logits_to_keep=1)
    assert one == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        for _ in range(2):
            ids = torch.randint(10, 100, (ROWS, 1))
            state = model(input_ids=ids, use_cache=True, **{CACHE: state[CACHE]})
    assert three - one == counter.get_total_flops()


def test_methods_and_checkpointing_order_the_work() -> None:
    """A head costs about a forward pass, adapters less than all weights, checkpointing one forward pass more."""
    row = find_model("all-minilm-l6-v2")
    head, lora, full = (operations(plan(row, work="train", method=METHODS[name])) for name in ("head", "lora", "full"))
    forward = operations(plan(row, work="evaluate"))
    assert forward < head < 1.01 * forward < 2 * forward < lora < full <= 3 * forward
    again = operations(plan(row, work="train", method=METHODS["full"], gradient_checkpointing=True))
    assert again == pytest.approx(full + forward, rel=1e-3)
    two = operations(plan(row, work="train", method=METHODS["full"], parts=2))
    assert two == 2 * full


def test_the_rough_figure_is_of_the_same_size() -> None:
    """Two operations a parameter and token leave out attention's products: short texts agree within a tenth."""
    row = find_model("tinyllama-1.1b")
    assert forward_flops(row, ROWS * LENGTH) == pytest.approx(operations(plan(row)), rel=0.1)
