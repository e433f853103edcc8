"""Bytes alive while a model computes: symbolic tensors that have a size and no values, forward and backward.

A block of memory lives as long as something refers to it, as in torch: Python's own reference counts free it here, too.
An operation keeps what its gradient needs; ``backward`` walks the operations in reverse, makes gradients and lets go of
what was kept. What the operations of a model are stands in ``network``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Place = int | Literal["start", "head"]
"""Where in a network: the index of a layer, before all of them, or after."""
Phase = tuple[int, Literal["forward", "backward"], Place]
"""Of the work: the number of its part, the direction, and the place."""
START: Phase = (0, "forward", "start")


class Memory:
    """Counts bytes: those alive by kind, the most alive at once in each phase, and all that were ever written."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.total = 0
        self.peak = 0
        """Of the current phase."""
        self.phase = START
        self.written = 0
        self._ended: list[tuple[Phase, Mapping[str, int]]] = []
        self._kept: dict[str, int] = {}
        self._rose = False

    def block(self, size: int, kind: str = "activations") -> Block:
        """A new block of memory."""
        return Block(self, size, kind)

    def took(self, size: int, kind: str) -> None:
        """Count a block that came (or, with a negative size, went)."""
        if size < 0 and self._rose:
            # A peak is written down once it is left: most of the way up every block is a new one.
            self._kept, self._rose = dict(self.live), False
        self.live[kind] = self.live.get(kind, 0) + size
        self.total += size
        if size > 0:
            self.written += size
            if self.total > self.peak:
                self.peak, self._rose = self.total, True

    def enter(self, phase: Phase) -> None:
        """Begin another phase, or go on with this one; what is alive then is its peak until more is."""
        if phase == self.phase:
            return
        self._ended.append((self.phase, self.at_peak))
        self.phase, self.peak, self._rose = phase, self.total, True

    @property
    def at_peak(self) -> dict[str, int]:
        """Bytes by kind when the most were alive in the current phase, the first time."""
        return dict(self.live) if self._rose else self._kept

    @property
    def phases(self) -> list[tuple[Phase, Mapping[str, int]]]:
        """Each phase so far, in order, with the bytes by kind at its peak."""
        return [*self._ended, (self.phase, self.at_peak)]


class Block:
    """Memory of one or more tensors; given back when nothing refers to it."""

    __slots__ = ("kind", "memory", "size")

    def __init__(self, memory: Memory, size: int, kind: str) -> None:
        self.memory = memory
        self.size = size
        self.kind = kind
        memory.took(size, kind)

    def __del__(self) -> None:
        self.memory.took(-self.size, self.kind)


@dataclass(slots=True, eq=False)
class Operation:
    """What the backward pass knows of an operation."""

    order: int
    place: Place
    sources: Sequence[tuple[Operation | None, int, bool]] = ()
    """Of each input: the operation it came from (None where it needs no gradient), the bytes of its gradient, and
    whether that is the output's own gradient handed through."""
    kept: tuple[Block, ...] = ()
    parameters: tuple[int, ...] = ()
    """Bytes of the gradient of each trained parameter."""
    working: int = 0
    """Bytes the backward pass of this operation takes besides gradients."""
    again: Callable[[Block], Block | None] | None = None
    """Of a checkpointed part: computes it once more, given the gradient of its output; gives its input's."""


@dataclass(slots=True, eq=False)
class Value:
    """A symbolic tensor."""

    block: Block
    count: int
    """Elements."""
    item: int
    """Bytes an element."""
    maker: Operation | None = None
    """None where no gradient flows."""

    @property
    def size(self) -> int:
        """Bytes of the elements; a view's block may be larger."""
        return self.count * self.item


@dataclass(slots=True)
class Tape:
    """Records operations in the order they run; ``recording`` False keeps nothing, as without gradients."""

    memory: Memory
    recording: bool = True
    gradients_exist: bool = False
    """A second pass adds to gradients that are there: its own are made and let go."""
    count: int = 0
    part: int = 0
    """Of the work: passes that follow one another."""
    place: Place = "start"
    held: list[Block] = field(default_factory=list)
    """Gradients of parameters."""

    def reach(self, place: Place) -> None:
        """What follows in the forward pass is computed there."""
        self.place = place
        self.memory.enter((self.part, "forward", place))

    def make(
        self,
        count: int,
        *inputs: Value,
        item: int = 4,
        kind: str = "activations",
        keeps: Sequence[Block] = (),
        keeps_output: bool = False,
        parameters: Sequence[int] = (),
        through: bool = False,
        view: bool = False,
        working: int = 0,
        backward_working: int = 0,
    ) -> Value:
        """The output of an operation, of ``count`` elements of ``item`` bytes.

        ``keeps`` are blocks its gradient needs, ``parameters`` the bytes of trained parameters' gradients; ``through``
        hands the output's gradient on to every input as it is, ``view`` takes no memory of its own. ``working`` and
        ``backward_working`` are bytes taken only while the operation, or its gradient, is computed.
        """
        scratch = self.memory.block(working, "workspace") if working else None
        value = Value(inputs[0].block if view else self.memory.block(count * item, kind), count, item)
        del scratch
        if self.recording and (parameters or any(source.maker is not None for source in inputs)):
            value.maker = self.operation(
                sources=[(source.maker, source.size, through or view) for source in inputs],
                kept=(*keeps, value.block) if keeps_output else tuple(keeps),
                parameters=tuple(parameters),
                working=backward_working,
            )
        return value

    def operation(
        self,
        *,
        sources: Sequence[tuple[Operation | None, int, bool]] = (),
        kept: tuple[Block, ...] = (),
        parameters: tuple[int, ...] = (),
        working: int = 0,
        again: Callable[[Block], Block | None] | None = None,
    ) -> Operation:
        """A recorded operation, newer than all before."""
        self.count += 1
        return Operation(self.count, self.place, sources, kept, parameters, working, again)

    def checkpoint(self, part: Callable[[Value], Value], given: Value) -> Value:
        """Run a part of the network without keeping anything but its input; the backward pass runs it again."""
        if not self.recording:
            return part(given)
        self.recording = False
        out = part(Value(given.block, given.count, given.item))
        self.recording = True
        block, count, item, flows = given.block, given.count, given.item, given.maker is not None

        def again(gradient: Block) -> Block | None:
            start = self.operation() if flows else None
            made = part(Value(block, count, item, start)).maker
            return self.backward(made, gradient, until=start) if made is not None else None

        out.maker = self.operation(sources=[(given.maker, given.size, True)], kept=(given.block,), again=again)
        return out

    def backward(self, newest: Operation, gradient: Block, *, until: Operation | None = None) -> Block | None:
        """Walk back to every trained parameter, newest operation first, as torch's engine does.

        Returns the gradient that reached ``until``.
        """
        waiting = {newest.order: newest}
        gradients = {newest.order: gradient}
        del newest, gradient
        reached: Block | None = None
        while waiting:
            order = max(waiting)
            operation, given = waiting.pop(order), gradients.pop(order)
            self.place = operation.place
            self.memory.enter((self.part, "backward", self.place))
            if operation is until:
                reached = given
                continue
            self._step(operation, given, waiting, gradients)
            del operation, given
        return reached

    def _step(
        self, operation: Operation, given: Block, waiting: dict[int, Operation], gradients: dict[int, Block]
    ) -> None:
        """Gradients of one operation's parameters and inputs; afterwards what it kept is let go."""
        if operation.again is not None:
            handed = operation.again(given)
            if handed is None:
                return
            given = handed
        scratch = self.memory.block(operation.working, "workspace") if operation.working else None
        for size in operation.parameters:
            if self.gradients_exist:
                added = self.memory.block(size, "workspace")
                del added
            else:
                self.held.append(self.memory.block(size, "gradients"))
        for source, size, through in operation.sources:
            if source is None:
                continue
            made = given if through else self.memory.block(size, "activations")
            if source.order not in waiting:
                waiting[source.order], gradients[source.order] = source, made
            elif sys.getrefcount(gradients[source.order]) > 2:
                # A gradient that something else holds, too, is not added to in place.
                gradients[source.order] = self.memory.block(size, "activations")
        del scratch
        operation.kept, operation.sources = (), ()
