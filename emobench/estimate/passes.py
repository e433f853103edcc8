"""One pass of a plan on the tape: embeddings, layers, head, loss, and back. Gives the bytes alive at its peak.

Weights, optimizer state and what a process takes besides are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emobench.estimate.network import Network
from emobench.estimate.parameters import adapted, trainable_parameters
from emobench.estimate.plan import MemoryPlan
from emobench.estimate.shapes import Linear, Shape, shape_of
from emobench.estimate.tape import Memory, Phase, Place, Tape, Value

SHALLOW = 4
"""Layers that are computed of a deep network: the first two and the last two; those between repeat."""


def pass_bytes(plan: MemoryPlan) -> Mapping[str, int]:
    """Bytes by kind (activations, gradients, optimizer, logits, kv_cache, workspace) at the peak; weights apart.

    Of a network whose layers are alike only :data:`SHALLOW` are computed, and one more: a layer in between adds as much
    to every phase of the work as any other does. The result is that of computing all of them.
    """
    shape = shape_of(plan.model)
    if not is_deep(plan, shape):
        return highest(bytes_by_phase(plan, shape))
    few, more = (bytes_by_phase(plan, replace(shape, layers=SHALLOW + added)) for added in (0, 1))
    wider = {_from_the_ends(phase, SHALLOW + 1): found for phase, found in more}
    extra = shape.layers - SHALLOW
    grown = []
    for phase, found in few:
        other = wider[_from_the_ends(phase, SHALLOW)]
        kinds = {**found, **other}
        grown.append((phase, {kind: _line(found.get(kind, 0), other.get(kind, 0), extra) for kind in kinds}))
    return highest(grown)


def is_deep(plan: MemoryPlan, shape: Shape) -> bool:
    """Whether the network has many layers, all of them alike."""
    if shape.layers <= 2 * SHALLOW:
        return False
    return len({adapted(shape, plan.model, plan.method, layer) for layer in range(shape.layers)}) == 1


def highest(phases: Sequence[tuple[Phase, Mapping[str, int]]]) -> Mapping[str, int]:
    """The bytes by kind of the phase with most, the first of several."""
    return max((found for _, found in phases), key=lambda found: sum(found.values()))


def bytes_by_phase(plan: MemoryPlan, shape: Shape) -> list[tuple[Phase, Mapping[str, int]]]:
    """Each phase of the work on a network of that shape, with the bytes by kind at its peak."""
    memory = Memory()
    net = Network(plan=plan, shape=shape, tape=Tape(memory, recording=plan.work == "train"))
    if plan.work == "train":
        return _train(net)
    forward_and_back(net)
    if plan.work == "generate":
        _decode(net)
    return memory.phases


def _from_the_ends(phase: Phase, layers: int) -> tuple[int, str, Place, bool]:
    """The phase with its layer counted from the nearer end, and whether that is the last layer's."""
    part, direction, place = phase
    if not isinstance(place, int):
        return part, direction, place, False
    last = place >= layers // 2
    return part, direction, layers - 1 - place if last else place, last


def _line(few: int, more: int, extra: int) -> int:
    """What ``few`` becomes with so many steps like the one to ``more``."""
    return few + extra * (more - few)


def _train(net: Network) -> list[tuple[Phase, Mapping[str, int]]]:
    """An optimizer step that is not the first: the optimizer's state is there, gradients are made by the first part."""
    plan, tape = net.plan, net.tape
    assert plan.method is not None
    state = tape.memory.block(8 * trainable_parameters(plan.model, plan.method, plan.num_labels), "optimizer")
    for part in range(min(plan.parts, 2)):
        tape.gradients_exist, tape.part = part > 0, part
        forward_and_back(net)
        net.masks.clear()
    phases = tape.memory.phases
    del state
    return phases


@dataclass(frozen=True)
class ForwardCounts:
    """What one forward pass of a plan does besides its matrix products."""

    written_bytes: int
    """Of all tensors that it makes, those it lets go at once included."""
    drawn: int
    """Random numbers of dropout from torch's generator."""
    drawn_fast: int
    """The same from the product's own."""


def forward_counts(plan: MemoryPlan) -> ForwardCounts:
    """Counted operation by operation; of ``generate`` the pass over the prompt."""
    shape = shape_of(plan.model)
    if not is_deep(plan, shape):
        return ForwardCounts(*counts_of_layers(plan, shape))
    few, more = (counts_of_layers(plan, replace(shape, layers=SHALLOW + added)) for added in (0, 1))
    return ForwardCounts(*(_line(a, b, shape.layers - SHALLOW) for a, b in zip(few, more, strict=True)))


def counts_of_layers(plan: MemoryPlan, shape: Shape) -> tuple[int, int, int]:
    """Written bytes, numbers of torch's generator and of the product's own, in a network of that shape."""
    net = Network(plan=plan, shape=shape, tape=Tape(Memory(), recording=False))
    forward_and_back(net)
    return net.tape.memory.written, net.drawn, net.drawn_fast


def forward(net: Network) -> Value:
    """The forward pass; the loss (or logits) holds on to everything the backward pass needs."""
    hidden = embed(net)
    masks(net)
    for layer in range(net.shape.layers):
        hidden = run_layer(net, hidden, layer)
    loss = head(net, hidden)
    # Autocast's copies of the weights go with its context, unless the backward pass needs them.
    net.cast.clear()
    return loss


def forward_and_back(net: Network) -> None:
    """The forward pass and, where the plan trains, the backward pass."""
    loss = forward(net)
    newest = loss.maker
    if newest is not None:
        gradient = net.tape.memory.block(loss.size)
        loss.maker = None
        net.tape.backward(newest, gradient)


def embed(net: Network) -> Value:
    """Token vectors with positions, types, norm and dropout where the family has them."""
    plan, shape, make = net.plan, net.shape, net.tape.make
    net.tape.reach("start")
    tokens = plan.batch_size * plan.length
    item = net.item
    ids = Value(net.tape.memory.block(3 * tokens * 8), tokens, 8)
    trained = net.trains("body")

    def table(rows: int, count: int) -> Value:
        return make(
            count * shape.width,
            ids,
            item=item,
            keeps=[ids.block],
            parameters=[4 * rows * shape.width] if trained else (),
        )

    hidden = table(shape.vocabulary, tokens)
    if shape.types:
        hidden = net.add(hidden, table(shape.types, tokens))
    if shape.positions:
        hidden = net.add(hidden, table(shape.positions, tokens))
    if shape.family.norm == "gemma":
        hidden = make(hidden.count, hidden, item=hidden.item)
    if shape.family.encoder:
        hidden = net.norm(hidden)
    if plan.precision in ("int8", "int8-bnb", "nf4") and net.training and hidden.maker is None:
        # Quantized training makes the embeddings' output require gradients.
        hidden.maker = net.tape.operation()
    return net.dropout(hidden, shape.dropout)


def masks(net: Network) -> None:
    """Attention masks and tables of rotary positions, which stay through the whole pass."""
    plan, shape = net.plan, net.shape
    square = plan.batch_size * plan.length**2
    kinds = len(set(shape.windows))
    if plan.attention != "sdpa":
        net.masks.append(net.tape.memory.block(square * 4 * kinds))
        scratch = net.tape.memory.block(square * 2, "workspace")
        del scratch
    elif plan.padded:
        net.masks.append(net.tape.memory.block(square * kinds))
    if shape.family.rotary:
        net.masks.append(net.tape.memory.block(2 * plan.length * shape.head_size * net.item * kinds))


def run_layer(net: Network, hidden: Value, layer: int) -> Value:
    """One layer, checkpointed where the plan says so."""
    net.tape.reach(layer)
    last_of_encoder = net.shape.family.encoder and net.plan.first_token and layer == net.shape.layers - 1

    def part(x: Value) -> Value:
        if net.plan.gradient_checkpointing:
            # Run again, a layer casts its weights for itself.
            net.cast.clear()
        if net.shape.family.encoder:
            return encoder_layer(net, x, layer, first_token=last_of_encoder)
        return decoder_layer(net, x, layer)

    # Where nothing of the layers is trained nothing is kept, checkpointed or not.
    trains = net.trains("body") or net.trains("adapters")
    return net.tape.checkpoint(part, hidden) if net.plan.gradient_checkpointing and trains else part(hidden)


def encoder_layer(net: Network, x: Value, layer: int, *, first_token: bool) -> Value:
    """A layer with the norms after the sums (BERT's kind); the last one may compute its first token alone."""
    rate = net.shape.dropout
    residual = x
    if first_token:
        residual = net.tape.make(net.plan.batch_size * net.shape.width, x, item=x.item, view=True)
    attended = net.attention(x, layer, queries=residual)
    attended = net.norm(net.add(net.dropout(attended, rate), residual))
    out = net.mlp(attended, layer)
    return net.norm(net.add(net.dropout(out, rate), attended))


def decoder_layer(net: Network, x: Value, layer: int) -> Value:
    """A layer with the norms before (and, in Gemma, also after) attention and MLP."""
    rate, family = net.shape.dropout, net.shape.family
    normed = net.norm(x)
    attended = net.attention(normed, layer)
    if family.parallel:
        read = normed if family.norms == 1 else net.norm(x)
        out = net.dropout(net.mlp(read, layer), rate)
        return net.add(net.add(net.dropout(attended, rate), out), x)
    del normed
    if family.norms == 4:
        attended = net.norm(attended)
    middle = net.add(net.dropout(attended, rate), x)
    del attended, x
    normed = net.norm(middle)
    out = net.mlp(normed, layer)
    if family.norms == 4:
        out = net.norm(out)
    return net.add(net.dropout(out, rate), middle)


def head(net: Network, hidden: Value) -> Value:
    """The classifier on its token, or a language model's logits, and the loss."""
    plan, shape, make = net.plan, net.shape, net.tape.make
    net.tape.reach("head")
    trained = net.trains("head")
    if not shape.family.encoder:
        hidden = net.norm(hidden)
    if plan.causal:
        return _language_head(net, hidden)
    if shape.family.encoder:
        first = make(plan.batch_size * shape.width, hidden, item=hidden.item, view=True)
        dense = Linear(name="dense", path="", inputs=shape.width, outputs=shape.width, bias=True)
        hidden = _head_product(net, first, dense, trained)
        hidden = make(hidden.count, hidden, item=hidden.item, keeps_output=True)
    classes = Linear(name="classes", path="", inputs=shape.width, outputs=plan.num_labels, bias=shape.family.encoder)
    logits = _head_product(net, hidden, classes, trained)
    return make(1, logits, keeps_output=True)


def _head_product(net: Network, x: Value, linear: Linear, trained: bool) -> Value:
    weights = 4 * linear.inputs * linear.outputs
    return net.tape.make(
        x.count // linear.inputs * linear.outputs,
        x,
        item=x.item,
        keeps=[x.block] if trained else (),
        parameters=[weights] if trained else (),
    )


def _language_head(net: Network, hidden: Value) -> Value:
    """Logits of every token (of the last one for generation); the loss computes on them in four bytes."""
    plan, shape, make = net.plan, net.shape, net.tape.make
    rows = plan.batch_size if plan.work == "generate" else plan.batch_size * plan.length
    count = rows * shape.vocabulary
    trained = net.trains("body")
    weights = [4 * shape.vocabulary * shape.width] if trained else []
    item = 2 if net.autocast else hidden.item
    logits = make(count, hidden, item=item, kind="logits", keeps=[hidden.block] * trained, parameters=weights)
    if not net.training:
        return logits
    if item < 4:
        logits = make(count, logits, kind="logits")
    logits = make(count, logits, kind="logits", keeps_output=True)
    return make(1, logits, keeps=[logits.block])


def _decode(net: Network) -> None:
    """Tokens after the prompt: the cache of a layer is copied into one that is a token longer."""
    plan, memory = net.plan, net.tape.memory
    net.cache.clear()
    net.masks.clear()
    part = plan.batch_size * net.shape.key_width * net.item
    whole = 2 * net.shape.layers * part * (plan.length + plan.new_tokens)
    held = memory.block(whole + part * (plan.length + plan.new_tokens), "kv_cache")
    net.tape.part = 1
    step = Network(plan=replace(plan, length=1, new_tokens=0), shape=net.shape, tape=net.tape)
    forward_and_back(step)
    del held
