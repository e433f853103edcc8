"""The operations of one attention, by implementation, on a tape of symbolic tensors; projections are the caller's.

Shapes: B rows, T tokens, S keys, H heads, G key heads, D head size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emobench.estimate.tape import Value

if TYPE_CHECKING:
    from emobench.estimate.network import Network


def attend(net: Network, q: Value, k: Value, v: Value, layer: int) -> Value:
    """Attention of B x T queries over B x S keys; the output has the queries' size."""
    dropped = net.shape.attention_dropout if net.training else 0.0
    if net.plan.attention == "sdpa" and (dropped == 0 or net.plan.device != "cpu"):
        return _fused(net, q, k, v)
    if net.plan.attention == "sdpa":
        return _spelled_out_sdpa(net, q, k, v, dropped)
    return _products(net, q, k, v, dropped)


def _keys_for_all_heads(net: Network, x: Value) -> Value:
    """Each key head repeated for the query heads that share it: a copy."""
    shape = net.shape
    repeats = shape.heads // shape.key_heads
    return net.tape.make(x.count * repeats, x, item=x.item)


def _scores(net: Network, q: Value, k: Value) -> int:
    """Elements of the scores: B x H x T x S."""
    shape, rows = net.shape, net.plan.batch_size
    queries = q.count // (rows * shape.query_width)
    keys = k.count // (rows * shape.key_width)
    return rows * shape.heads * queries * keys


def _fused(net: Network, q: Value, k: Value, v: Value) -> Value:
    """Flash attention: no scores; the gradient needs inputs, output, and one number a query and head."""
    tape, shape = net.tape, net.shape
    if shape.heads != shape.key_heads and net.plan.padded:
        k = _keys_for_all_heads(net, k)
        v = _keys_for_all_heads(net, v)
    item = 2 if net.autocast else v.item
    q, k, v = (tape.make(part.count, part, item=item) if part.item != item else part for part in (q, k, v))
    # A boolean mask becomes numbers inside, anew in every layer, and the gradient holds on to it.
    mask = tape.memory.block(_scores(net, q, k) // shape.heads * item) if net.plan.padded else None
    sums = tape.memory.block(4 * q.count // shape.head_size)
    keeps = [q.block, k.block, v.block, sums, *([mask] if mask else [])]
    return tape.make(q.count, q, k, v, item=item, keeps=keeps, keeps_output=True)


def _spelled_out_sdpa(net: Network, q: Value, k: Value, v: Value, rate: float) -> Value:
    """What scaled-dot-product attention does on a CPU with dropout, which its flash kernel has not."""
    tape, count = net.tape, _scores(net, q, k)
    if net.shape.heads != net.shape.key_heads:
        k, v = _keys_for_all_heads(net, k), _keys_for_all_heads(net, v)
    scaled_q = tape.make(q.count, q, item=q.item)
    scaled_k = tape.make(k.count, k, item=k.item)
    scores = tape.make(count, scaled_q, scaled_k, item=q.item, keeps=[scaled_q.block, scaled_k.block])
    weights = tape.make(count, scores, item=q.item, keeps_output=True)
    empty = tape.memory.block(count)
    weights = tape.make(count, weights, item=q.item)
    del empty, scores
    net.drawn += count
    mask = tape.memory.block(count * q.item)
    weights = tape.make(count, weights, item=q.item, keeps=[mask])
    del mask
    out = tape.make(q.count, weights, v, item=q.item, keeps=[weights.block, v.block])
    return tape.make(q.count, out, item=q.item)


def _products(net: Network, q: Value, k: Value, v: Value, rate: float) -> Value:
    """Attention as plain matrix products: scores, masked scores, weights and dropped weights all exist at once."""
    tape, count = net.tape, _scores(net, q, k)
    item = 2 if net.autocast else q.item
    query = tape.make(q.count, q, item=q.item)
    query = tape.make(q.count, query, item=item)
    key = tape.make(k.count * (net.shape.heads // net.shape.key_heads), k, item=item)
    scores = tape.make(count, query, key, item=item, keeps=[query.block, key.block])
    if net.shape.softcap:
        # Divided, squeezed by tanh, which keeps its output, and multiplied back.
        scores = tape.make(count, scores, item=item)
        scores = tape.make(count, scores, item=item, keeps_output=True)
        scores = tape.make(count, scores, item=item)
    scores = tape.make(count, scores, item=4 if net.autocast else item, through=not net.autocast)
    weights = tape.make(count, scores, item=scores.item, keeps_output=True)
    weights = net.dropout(weights, rate)
    value = tape.make(v.count * (net.shape.heads // net.shape.key_heads), v, item=item)
    if weights.item != item:
        weights = tape.make(count, weights, item=item)
    out = tape.make(q.count, weights, value, item=item, keeps=[weights.block, value.block])
    return tape.make(q.count, out, item=item)
