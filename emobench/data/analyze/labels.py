"""Label balance: how many documents each class has. Where labels are too many to be classes, that is what is said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from emobench.data.documents import Document

MOST_CLASSES = 1000
"""More different values than this are no classes; they are not counted further."""
SHOWN_CLASSES = 50


class Labels:
    """The pass that counts label values."""

    name = "labels"

    def __init__(self) -> None:
        self.counts: Counter[str | None] = Counter()
        self.documents = 0
        self.too_many = False

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Count a batch."""
        self.documents += len(batch)
        if not self.too_many:
            self.counts.update(document.label for document in batch)
            self.too_many = len(self.counts) > MOST_CLASSES

    def result(self) -> Mapping[str, Any]:
        """Documents of each class, largest first, and how unequal they are; ``classes`` is None where there are none.

        ``evenness`` is the entropy of the classes over that of equal ones: 1 is balanced, 0 is a single class.
        """
        unlabeled = self.counts.pop(None, 0) if not self.too_many else 0
        labeled = self.documents - unlabeled
        if self.too_many:
            return {"labeled": None, "distinct": None, "classes": None, "reason": f"over {MOST_CLASSES:,} values"}
        if not labeled:
            return {"labeled": {"count": 0, "of": self.documents}, "distinct": 0, "classes": None, "reason": "no label"}
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], str(item[0])))
        shares = [count / labeled for _, count in ordered]
        entropy = -sum(share * math.log(share) for share in shares)
        return {
            "labeled": {"count": labeled, "of": self.documents},
            "distinct": len(ordered),
            "classes": [{"label": label, "count": count, "of": labeled} for label, count in ordered[:SHOWN_CLASSES]],
            "not_shown": max(0, len(ordered) - SHOWN_CLASSES),
            "largest_over_smallest": ordered[0][1] / ordered[-1][1],
            "evenness": entropy / math.log(len(ordered)) if len(ordered) > 1 else 0.0,
            "reason": None,
        }
