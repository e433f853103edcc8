"""Quantized weights: how they are asked for, what the modules became, and how they are prepared for adapters.

int8 is torchao's weight-only int8; int8-bnb and nf4 are bitsandbytes. Heads are never quantized.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from emobench.errors import UnsupportedError
from emobench.extras import require
from emobench.models.adapters import quiet_peft
from emobench.models.architecture import quantizable
from emobench.specs import Precision

QUANTIZED: frozenset[Precision] = frozenset({"int8", "int8-bnb", "nf4"})


def load_options(precision: Precision, *, skipped: Callable[[], list[str]]) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that make it quantize while it reads; empty for every other precision.

    ``skipped`` gives the full names of the modules to leave as they are, and is called only where it is needed.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
    """
    if precision not in ("int8-bnb", "nf4"):
        return {}
    require("bitsandbytes", feature=f"precision {precision}", extra="quant")
    import transformers

    bnb_config: Any = transformers.BitsAndBytesConfig

    if precision == "int8-bnb":
        _hold_back_cast_notice()
        config = bnb_config(load_in_8bit=True, llm_int8_skip_modules=skipped())
    else:
        config = bnb_config(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=skipped(),
        )
    return {"quantization_config": config}


def quantize_loaded(model: PreTrainedModel, precision: Precision, *, skipped: Sequence[str]) -> None:
    """Quantize a model that is in memory, in place: torchao always, bitsandbytes where there was no file to read."""
    if precision == "int8":
        _torchao_int8(model, skipped)
    elif precision in QUANTIZED:
        _bitsandbytes(model, precision, skipped)


def prepare_for_training(model: PreTrainedModel) -> None:
    """Make a quantized model ready for adapters: all frozen, the unquantized rest in fp32.

    The output of the embeddings is made to require gradients: bitsandbytes returns views of its inputs' shape, and
    the in-place dropout or addition after the first layer would otherwise change a view no gradient flows to.
    """
    from peft import prepare_model_for_kbit_training

    with quiet_peft():
        # peft and transformers leave both unannotated.
        cast(Any, prepare_model_for_kbit_training)(model, use_gradient_checkpointing=False)
    cast(Any, model).enable_input_require_grads()


def quantization_facts(model: nn.Module) -> dict[str, Any]:
    """What the linear modules of a model became, read off the modules themselves.

    Keys: ``library``, ``type`` (``nf4`` or ``int8``), ``modules`` (count by class of module and weight),
    ``quantized_share`` (of all linear weights, adapters apart), ``compute_dtype``, ``double_quant`` (None where the
    type has none), ``bytes`` (of the quantized weights with their scales).

    Raises:
        UnsupportedError: no linear module is quantized.
    """
    modules: Counter[str] = Counter()
    described: list[Mapping[str, Any]] = []
    done = total = 0
    for _, layer in quantizable(model, ()):
        count = parameter_count(layer.weight)
        total += count
        modules[f"{type(layer).__name__}[{type(layer.weight).__name__}]"] += 1
        facts = _weight_facts(layer)
        if facts is not None:
            done += count
            described.append(facts)
    if not described:
        raise UnsupportedError(
            "no linear module was quantized",
            why=f"the model's linear modules are {dict(modules)}",
            fix="take another precision for this model",
        )
    kinds = {(f["library"], f["type"], f["compute_dtype"], f["double_quant"]) for f in described}
    if len(kinds) > 1:
        raise UnsupportedError(
            "the linear modules were quantized in different ways",
            why=", ".join(sorted(map(str, kinds))),
            fix="take another precision for this model",
        )
    library, kind, compute, double = next(iter(kinds))
    return {
        "library": library,
        "type": kind,
        "compute_dtype": compute,
        "double_quant": double,
        "modules": dict(modules),
        "quantized_modules": len(described),
        "quantized_share": done / total,
        "bytes": sum(int(f["bytes"]) for f in described),
    }


def parameter_count(parameter: torch.Tensor) -> int:
    """Weights a parameter stands for: a packed 4-bit tensor holds two a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(torch.Size(state.shape).numel()) if state is not None else parameter.numel()


def state_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the scales bitsandbytes keeps beside a quantized weight; 0 for any other tensor."""
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        inner = state.state2.absmax.nbytes if state.nested else 0
        return int(state.absmax.nbytes + inner)
    scales = getattr(tensor, "SCB", None)
    return int(scales.nbytes) if scales is not None else 0


def _weight_facts(layer: nn.Linear) -> dict[str, Any] | None:
    """Library, type, compute dtype, double quantization and bytes of a quantized layer; None for a plain one."""
    weight = cast(Any, layer.weight)
    state = getattr(weight, "quant_state", None)
    if state is not None:
        return {
            "library": "bitsandbytes",
            "type": str(state.quant_type),
            "compute_dtype": _dtype_name(cast(Any, layer).compute_dtype),
            "double_quant": bool(state.nested),
            "bytes": weight.numel() * weight.element_size() + state_bytes(weight),
        }
    if hasattr(weight, "qdata"):
        parts = (weight.qdata, weight.scale, weight.zero_point)
        return {
            "library": "torchao",
            "type": _dtype_name(weight.qdata.dtype),
            "compute_dtype": _dtype_name(weight.dtype),
            "double_quant": None,
            "bytes": sum(int(part.nbytes) for part in parts if part is not None),
        }
    if weight.dtype == torch.int8:
        # The first forward pass moves the scales from the weight to the layer's state.
        scales = weight.SCB if getattr(weight, "SCB", None) is not None else cast(Any, layer).state.SCB
        return {
            "library": "bitsandbytes",
            "type": "int8",
            "compute_dtype": "float16",
            "double_quant": None,
            "bytes": weight.numel() + (int(scales.nbytes) if scales is not None else 0),
        }
    return None


def _hold_back_cast_notice() -> None:
    """Keep bitsandbytes from logging at every product that it casts to fp16; the loaded model's notes say it once."""
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_not_cast_notice)


def _is_not_cast_notice(record: logging.LogRecord) -> bool:
    return "inputs will be cast from" not in record.getMessage()


def _dtype_name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _torchao_int8(model: PreTrainedModel, skipped: Sequence[str]) -> None:
    torchao = require("torchao.quantization", feature="precision int8", extra="quant")
    names = {name for name, _ in quantizable(model, skipped)}
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig(), filter_fn=lambda module, name: name in names)


def _bitsandbytes(model: PreTrainedModel, precision: Precision, skipped: Sequence[str]) -> None:
    bnb = require("bitsandbytes", feature=f"precision {precision}", extra="quant")
    for name, layer in list(quantizable(model, skipped)):
        device = layer.weight.device
        shape = {"input_features": layer.in_features, "output_features": layer.out_features}
        if precision == "nf4":
            new = bnb.nn.Linear4bit(**shape, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")
            new.weight = bnb.nn.Params4bit(
                layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
            ).to(device)
        else:
            _hold_back_cast_notice()
            new = bnb.nn.Linear8bitLt(**shape, bias=False, has_fp16_weights=False, device="meta")
            new.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False).to(device)
        new.bias = layer.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
    # What peft asks before it chooses the adapter's class.
    flags = cast(Any, model)
    flags.is_loaded_in_4bit = precision == "nf4"
    flags.is_loaded_in_8bit = precision == "int8-bnb"
