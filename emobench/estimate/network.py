"""The operations of a transformer in the order its layers run them, on a tape of symbolic tensors.

Mirrors the modules of transformers 5 that the catalogue's architectures use, the product's own attention and dropout
among them: an operation that makes a tensor there makes one here. Numbers come from the plan's shape alone.

Shapes: B rows, T tokens, S keys, H heads, G key heads, D head size, E width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emobench.estimate.parameters import adapted
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.shapes import Linear, Shape
from emobench.estimate.tape import Block, Tape, Value
from emobench.estimate.weights import QUANTIZED


@dataclass(slots=True)
class Network:
    """A model's forward pass on a tape, for one plan."""

    plan: MemoryPlan
    shape: Shape
    tape: Tape
    cast: dict[str, Block] = field(default_factory=dict)
    """Weights autocast has cast, which it keeps until the pass ends."""
    cache: list[Block] = field(default_factory=list)
    """Keys and values kept for generation."""
    masks: list[Block] = field(default_factory=list)
    standing: dict[int, tuple[Linear, ...]] = field(default_factory=dict)
    """Layer to its matrices with adapters: looked up once, and asked for with every matrix product."""
    drawn: int = 0
    """Numbers that torch's generator drew for dropout."""
    drawn_fast: int = 0
    """Numbers that the product's own generator drew."""

    @property
    def training(self) -> bool:
        """Dropout is on."""
        return self.plan.work == "train"

    @property
    def autocast(self) -> bool:
        """Matrix products compute in two bytes while weights and sums have four."""
        narrow = self.plan.precision in ("bf16", "fp16", "nf4", "int8-bnb")
        return self.training and self.plan.master_weights and narrow

    @property
    def item(self) -> int:
        """Bytes an element of what is not a matrix product's output."""
        return self.plan.item

    def trains(self, part: str) -> bool:
        """Whether a part (``body``, ``head`` or ``adapters``) has gradients."""
        method = self.plan.method.id if self.training and self.plan.method else None
        return method == "full" or (method is not None and part == "head") or (method == "lora" and part == "adapters")

    def dropout(self, x: Value, rate: float) -> Value:
        """Zero a share of the elements while training."""
        if not self.training or rate == 0:
            return x
        # The mask is one byte an element on a GPU. On the CPU the product draws 16 random bits an element and compares.
        on_cpu = self.plan.device == "cpu"
        fast = on_cpu and self.plan.fast_dropout
        self.drawn_fast += x.count if fast else 0
        self.drawn += 0 if fast else x.count
        scratch = self.tape.memory.block(3 * x.count, "workspace") if fast else None
        mask = self.tape.memory.block(x.count * (x.item if on_cpu else 1))
        del scratch
        return self.tape.make(x.count, x, item=x.item, keeps=[mask])

    def linear(self, x: Value, linear: Linear, layer: int, *, part: str = "body") -> Value:
        """A matrix product with bias, its quantized or cast weight, and the adapter that may stand on it."""
        out = self._product(x, linear, f"{layer}.{linear.name}", trained=self.trains(part))
        if part == "body" and self.training and linear in self.adapted(layer):
            return self._adapter(x, out, linear)
        return out

    def adapted(self, layer: int) -> tuple[Linear, ...]:
        """The matrices of a layer that adapters stand on."""
        if layer not in self.standing:
            self.standing[layer] = adapted(self.shape, self.plan.model, self.plan.method, layer)
        return self.standing[layer]

    def norm(self, x: Value, *, width: int | None = None, trained: bool | None = None) -> Value:
        """A layer norm or one of the root-mean-square kind, over the last dimension."""
        trains = self.trains("body") if trained is None else trained
        size = 4 * (width or self.shape.width)
        tape, kind = self.tape, self.shape.family.norm
        if kind == "layer":
            source = tape.make(x.count, x, item=4) if self.autocast and x.item < 4 else x
            return tape.make(
                x.count,
                source,
                item=source.item,
                keeps=[source.block],
                parameters=(size, size) if trains else (),
            )
        source = tape.make(x.count, x, item=4) if x.item < 4 else x
        rows = x.count // (width or self.shape.width)
        square = tape.memory.block(source.size)
        del square
        mean = tape.make(rows, source, keeps=[source.block], backward_working=2 * source.size)
        normed = tape.make(x.count, source, mean, keeps=[source.block, mean.block])
        if kind == "rms" and x.item < 4:
            normed = tape.make(x.count, normed, item=x.item)
        scaled = tape.make(
            x.count, normed, item=normed.item, keeps=[normed.block] if trains else (), parameters=[size] * trains
        )
        return tape.make(x.count, scaled, item=x.item) if x.item < scaled.item else scaled

    def add(self, left: Value, right: Value) -> Value:
        """A sum of two tensors of the same shape."""
        item = max(left.item, right.item)
        same = left.item == right.item
        return self.tape.make(left.count, left, right, item=item, through=same)

    def activation(self, x: Value) -> Value:
        """The activation function; GPT-2's is written out in elementary operations and keeps four tensors."""
        make = self.tape.make
        if self.shape.activation != "gelu_new":
            return make(x.count, x, item=x.item, keeps=[x.block])
        half = make(x.count, x, item=x.item)
        cube = make(x.count, x, item=x.item, keeps=[x.block], backward_working=2 * x.size)
        scaled = make(x.count, cube, item=x.item)
        del cube
        total = make(x.count, x, scaled, item=x.item, through=True)
        del scaled
        inner = make(x.count, total, item=x.item)
        del total
        curved = make(x.count, inner, item=x.item, keeps_output=True)
        del inner
        shifted = make(x.count, curved, item=x.item, through=True)
        del curved
        return make(x.count, half, shifted, item=x.item, keeps=[half.block, shifted.block])

    def multiply(self, left: Value, right: Value) -> Value:
        """An elementwise product; its gradient needs both sides where both have one."""
        keeps = [block for block, other in ((left.block, right), (right.block, left)) if other.maker is not None]
        return self.tape.make(left.count, left, right, item=max(left.item, right.item), keeps=keeps)

    def mlp(self, x: Value, layer: int) -> Value:
        """The MLP of one layer."""
        by_name = {linear.name: linear for linear in self.shape.linears}
        if "gate_up" in by_name:
            both = self.linear(x, by_name["gate_up"], layer)
            half = both.count // 2
            gate = self.tape.make(half, both, item=both.item, view=True)
            up = self.tape.make(half, both, item=both.item, view=True)
            del both
            middle = self.multiply(up, self.activation(gate))
            del gate, up
        elif self.shape.family.gated:
            active = self.activation(self.linear(x, by_name["gate"], layer))
            middle = self.multiply(active, self.linear(x, by_name["up"], layer))
            del active
        else:
            middle = self.linear(x, by_name["up"], layer)
            middle = self.activation(middle)
        return self.linear(middle, by_name["down"], layer)

    def attention(self, x: Value, layer: int, *, queries: Value | None = None) -> Value:
        """Attention of one layer, its projections included; ``queries`` are fewer tokens than ``x`` where given."""
        by_name = {linear.name: linear for linear in self.shape.linears}
        if "qkv" in by_name:
            fused = self.linear(x, by_name["qkv"], layer)
            rows = fused.count // by_name["qkv"].outputs
            q = self.tape.make(rows * self.shape.query_width, fused, item=fused.item, view=True)
            k = self.tape.make(rows * self.shape.key_width, fused, item=fused.item, view=True)
            v = self.tape.make(rows * self.shape.key_width, fused, item=fused.item, view=True)
            del fused
        else:
            q = self.linear(queries or x, by_name["q"], layer)
            k = self.linear(x, by_name["k"], layer)
            v = self.linear(x, by_name["v"], layer)
        if self.shape.family.qk_norm:
            q = self.norm(q, width=self.shape.head_size)
            k = self.norm(k, width=self.shape.head_size)
        if self.shape.family.rotary:
            rotated = self.rotate(q), self.rotate(k)
            q, k = rotated
            del rotated
        if self.plan.caches:
            self.cache += [self.tape.memory.block(part.size, "kv_cache") for part in (k, v)]
        context = attend(self, q, k, v, layer)
        return self.linear(context, by_name["o"], layer)

    def rotate(self, x: Value) -> Value:
        """Rotary positions: x cos + rotated x sin; neither keeps more than the shared tables."""
        make = self.tape.make
        item = 4 if self.autocast else x.item
        left = make(x.count, x, item=item)
        negated = make(x.count // 2, x, item=x.item)
        half = make(x.count, x, item=x.item)
        del negated
        right = make(x.count, half, item=item)
        del half
        return make(x.count, left, right, item=item, through=True)

    def _product(self, x: Value, linear: Linear, name: str, *, trained: bool) -> Value:
        rows, weights = x.count // linear.inputs, linear.inputs * linear.outputs
        make, precision = self.tape.make, self.plan.precision
        item = 2 if self.autocast else x.item
        source = make(x.count, x, item=item) if item != x.item else x
        flows = trained or x.maker is not None
        keeps = [source.block] if trained else []
        working = 0
        if precision == "int8" and not self.shape.family.conv1d:
            # The weights are cast to the inputs' dtype, product by product; the gradient of the inputs needs the cast.
            raw = make(rows * linear.outputs, source, item=item, keeps=[*keeps, self.tape.memory.block(weights * item)])
            return make(rows * linear.outputs, raw, item=item)
        if precision in QUANTIZED:
            # bitsandbytes makes them anew for the backward pass.
            working = weights * 2
        elif self.autocast:
            cast = self.cast.get(name) or self.tape.memory.block(weights * 2)
            keeps += [cast] if flows else []
            if trained:
                # Only weights that have gradients are cast once for the whole pass.
                self.cast[name] = cast
        return make(
            rows * linear.outputs,
            source,
            item=item,
            keeps=keeps,
            parameters=(4 * weights, *([4 * linear.outputs] if linear.bias else [])) if trained else (),
            working=working,
            backward_working=2 * weights if trained and self.autocast else working,
        )

    def _adapter(self, x: Value, out: Value, linear: Linear) -> Value:
        method = self.plan.method
        assert method is not None
        rank, rows = method.rank, x.count // linear.inputs
        item = 2 if self.autocast else x.item
        make = self.tape.make
        dropped = self.dropout(x, method.dropout)
        if item != dropped.item:
            dropped = make(dropped.count, dropped, item=item)
        low = make(rows * rank, dropped, item=item, keeps=[dropped.block], parameters=[4 * rank * linear.inputs])
        del dropped
        high = make(rows * linear.outputs, low, item=item, keeps=[low.block], parameters=[4 * rank * linear.outputs])
        scaled = make(rows * linear.outputs, high, item=item)
        del high
        return make(rows * linear.outputs, out, scaled, item=max(out.item, item), through=out.item == item)


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
