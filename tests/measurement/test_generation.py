"""Prefill and decode apart: the same tokens as the library's own greedy search, and a constant number of them."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from emobench.measurement import generation
from emobench.measurement.forward import forward_pass, largest_difference, random_prompts


@pytest.fixture(scope="module")
def decoder() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def test_tokens_are_those_of_greedy_search(decoder: LlamaForCausalLM) -> None:
    """Prefill and decode choose what ``generate`` chooses without sampling and without an end-of-text token."""
    prompts = random_prompts(200, rows=3, tokens=9, device="cpu")
    wanted = decoder.generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=12, eos_token_id=None
    )[:, 9:]
    found = generation.decode(decoder, generation.prefill(decoder, prompts), 12)
    assert found.tolist() == wanted.tolist()


def test_end_of_text_does_not_stop_decoding(decoder: LlamaForCausalLM) -> None:
    """The work is constant: a model that always chooses the end-of-text token still makes every token."""
    state = generation.prefill(decoder, random_prompts(200, rows=1, tokens=4, device="cpu"))
    state.next_ids_B1 = torch.tensor([[2]])
    assert generation.decode(decoder, state, 5).shape == (1, 5)


def test_metrics_wait_for_the_device(decoder: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both times end with a wait for the device: a synchronisation that takes 30 ms is in the first token's time."""
    import time

    prompts = random_prompts(200, rows=2, tokens=4, device="cpu")
    monkeypatch.setattr(generation, "synchronize", lambda device: time.sleep(0.03))
    parts = generation.Parts(model=decoder, prompts_BT=prompts, device="cpu", tokens=4)
    for _ in range(7):
        parts()
    found = {item.name: item for item in parts.metrics(6)}
    assert found["ttft_p50_seconds"].value >= 0.03
    assert found["tpot_p50_seconds"].value >= 0.01
    assert found["decode_tokens_per_second"].value == pytest.approx(2 / found["tpot_p50_seconds"].value)
    assert found["ttft_p50_seconds"].ci is not None
    assert found["ttft_p50_seconds"].n == 6


def test_parts_and_whole_do_the_same_work(decoder: LlamaForCausalLM) -> None:
    """A whole generation runs one prefill and n - 1 steps, as the parts do; their ratio is of medians."""
    calls: list[int] = []
    hook = decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    prompts = random_prompts(200, rows=2, tokens=4, device="cpu")
    generation.generate(decoder, prompts, 6)
    assert len(calls) == 6
    parts = generation.Parts(model=decoder, prompts_BT=prompts, device="cpu", tokens=6)
    parts()
    assert len(calls) == 12
    hook.remove()
    parts.first_seconds, parts.each_seconds = [9.0, 1.0, 1.0, 1.0], [9.0, 0.2, 0.2, 0.2]
    assert generation.whole_over_parts([2.2, 2.2, 9.0], parts) == pytest.approx(1.1)


def test_cache_bytes_are_keys_and_values_of_every_layer(decoder: LlamaForCausalLM) -> None:
    """Two layers, two key heads of eight numbers, fp32, for 3 rows of 4 + 5 tokens: the last token is not fed."""
    state = generation.generate(decoder, random_prompts(200, rows=3, tokens=4, device="cpu"), 6)
    assert generation.cache_bytes(state.cache) == 2 * 2 * 3 * (4 + 5) * 2 * 8 * 4


def test_rows_leave_one_another_alone(decoder: LlamaForCausalLM) -> None:
    """The difference between a row in its batch and alone is rounding; a model that mixes rows is found out."""

    class Wrapped(torch.nn.Module):
        def __init__(self, leak: float) -> None:
            super().__init__()
            self.leak = leak

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            output = decoder(input_ids=input_ids, attention_mask=attention_mask)
            return output.logits[:, -1] + self.leak * len(input_ids)

    prompts = random_prompts(200, rows=4, tokens=6, device="cpu")
    assert largest_difference(Wrapped(0.0), prompts) < 1e-4
    assert largest_difference(Wrapped(1.0), prompts) == pytest.approx(3.0, abs=1e-3)
    assert forward_pass(Wrapped(0.0), prompts)().shape == (4, 200)
