"""The tape's arithmetic: when blocks live, what a peak is, and what the backward pass makes and lets go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emobench.estimate.tape import Block, Memory, Phase, Tape, Value


def leaf(tape: Tape, count: int, *, trained: bool = False) -> Value:
    value = Value(tape.memory.block(4 * count), count, 4)
    value.maker = tape.operation() if trained else None
    return value


def test_a_block_lives_as_long_as_it_is_referred_to() -> None:
    """Letting go of the last reference gives the bytes back; the peak stays."""
    memory = Memory()
    first = memory.block(100)
    second = first
    del first
    assert memory.total == 100
    del second
    assert (memory.total, memory.peak, memory.written) == (0, 100, 100)


def test_the_peak_is_split_by_kind() -> None:
    """What was alive at the peak is known by kind, whatever came later."""
    memory = Memory()
    kept = memory.block(10, "logits")
    brief = memory.block(50, "workspace")
    del brief
    late = memory.block(20)
    assert memory.at_peak == {"logits": 10, "workspace": 50}
    assert kept.size + late.size == memory.total


@given(st.lists(st.tuples(st.sampled_from(["logits", "workspace"]), st.integers(-3, 9)), max_size=40))
def test_the_peak_is_that_of_a_log_of_every_block(moves: list[tuple[str, int]]) -> None:
    """At the first of the highest points the kinds are those that a copy after every block would show."""
    memory, held, seen = Memory(), list[Block](), list[tuple[int, dict[str, int]]]()
    for kind, size in moves:
        if size < 0:
            del held[:1]
        else:
            held.append(memory.block(size, kind))
        seen.append((memory.total, {name: count for name, count in memory.live.items() if count}))
    highest = max((total for total, _ in seen), default=0)
    first = next((live for total, live in seen if total == highest), {})
    assert memory.peak == highest
    assert {name: count for name, count in memory.at_peak.items() if count} == first


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 9)), max_size=40))
def test_each_phase_has_its_own_peak(moves: list[tuple[int, int]]) -> None:
    """What is alive when a phase begins counts as its peak until more is; one that goes on is one phase."""
    memory, held = Memory(), list[Block]()
    totals: list[tuple[object, list[int]]] = [(memory.phase, [0])]
    for place, size in moves:
        phase: Phase = (0, "forward", place)
        memory.enter(phase)
        if totals[-1][0] != phase:
            totals.append((phase, [memory.total]))
        if size < 0:
            del held[:1]
        else:
            held.append(memory.block(size))
        totals[-1][1].append(memory.total)
    assert [(phase, sum(kinds.values())) for phase, kinds in memory.phases] == [(at, max(seen)) for at, seen in totals]


def test_nothing_is_kept_where_no_gradient_flows() -> None:
    """An operation on a tensor without a gradient keeps no block, however much its gradient would need."""
    tape = Tape(Memory())
    x = leaf(tape, 10)
    y = tape.make(10, x, keeps=[x.block])
    assert y.maker is None
    del x
    assert tape.memory.total == 40


def test_backward_frees_what_was_kept_and_holds_gradients_of_parameters() -> None:
    """After the backward pass only parameters' gradients live."""
    tape = Tape(Memory())
    x = leaf(tape, 10)
    h = tape.make(20, x, keeps=[x.block], parameters=[800])
    y = tape.make(5, h, keeps=[h.block], parameters=[400])
    del x, h
    assert tape.memory.total == 40 + 80 + 20
    newest, y.maker = y.maker, None
    assert newest is not None
    tape.backward(newest, tape.memory.block(20))
    del newest, y
    assert tape.memory.live == {"activations": 0, "gradients": 1200}


def test_a_gradient_handed_through_takes_no_memory() -> None:
    """The gradient of a sum is its inputs' own; that of a product is made anew for each of them."""

    def peak(*, through: bool) -> int:
        tape = Tape(Memory())
        left, right = leaf(tape, 100, trained=True), leaf(tape, 100, trained=True)
        out = tape.make(100, left, right, through=through)
        newest, out.maker = out.maker, None
        assert newest is not None
        start = tape.memory.total
        tape.backward(newest, tape.memory.block(400))
        return tape.memory.peak - start

    assert peak(through=True) == 400
    assert peak(through=False) == 3 * 400


def test_a_second_part_lets_its_gradients_go() -> None:
    """Where gradients exist already, those of a further part are added to them and freed."""
    tape = Tape(Memory(), gradients_exist=True)
    x = leaf(tape, 10)
    y = tape.make(10, x, keeps=[x.block], parameters=[400])
    newest, y.maker = y.maker, None
    assert newest is not None
    tape.backward(newest, tape.memory.block(40))
    assert "gradients" not in tape.memory.live
    assert tape.memory.live["workspace"] == 0
    assert tape.memory.at_peak["workspace"] == 400


def test_a_checkpoint_keeps_its_input_and_runs_again() -> None:
    """Inside a checkpoint nothing is kept; the backward pass computes it once more and gives the input's gradient."""
    tape = Tape(Memory())
    runs: list[bool] = []

    def part(given: Value) -> Value:
        runs.append(tape.recording)
        middle = tape.make(100, given, keeps=[given.block], parameters=[40])
        return tape.make(10, middle, keeps=[middle.block])

    start = leaf(tape, 10, trained=True)
    first = start.maker
    out = tape.checkpoint(part, start)
    assert tape.memory.total == 40 + 40
    newest, out.maker = out.maker, None
    assert newest is not None
    reached = tape.backward(newest, tape.memory.block(40), until=first)
    assert runs == [False, True]
    assert reached is not None
    assert tape.memory.live["gradients"] == 40
