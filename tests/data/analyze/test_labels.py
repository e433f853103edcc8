"""Label balance counts what is there, and says when labels are no classes."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from emobench.data.analyze.labels import Labels
from emobench.data.documents import Document


def result(labels: list[str | None]) -> dict[str, object]:
    one = Labels()
    one.add([Document("", label, "f:1") for label in labels], [0] * len(labels))
    return dict(one.result())


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1))
def test_classes_are_counted(labels: list[str | None]) -> None:
    """Counts are those of a Counter, and evenness is scipy's entropy over that of equal classes."""
    found = result(labels)
    counts = Counter(label for label in labels if label is not None)
    if not counts:
        assert found["classes"] is None
        assert found["reason"] == "no label"
        return
    classes = {entry["label"]: entry["count"] for entry in found["classes"]}  # type: ignore[attr-defined]
    assert classes == counts
    assert found["labeled"] == {"count": counts.total(), "of": len(labels)}
    expected = entropy(list(counts.values())) / math.log(len(counts)) if len(counts) > 1 else 0.0
    assert math.isclose(found["evenness"], expected, abs_tol=1e-12)  # type: ignore[arg-type]
    assert found["largest_over_smallest"] == max(counts.values()) / min(counts.values())


def test_too_many_values_are_no_classes() -> None:
    """An identifier is not counted as if it were a label."""
    found = result([str(number) for number in range(2000)])
    assert found["classes"] is None
    assert found["distinct"] is None
    assert found["reason"] == "over 1,000 values"
