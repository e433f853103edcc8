"""Timed checkpoints: one now and then, by the clock, so that short trainings pay nothing and long ones lose little.

It asks the Trainer for a checkpoint; that counts only once it is marked complete, see ``checkpoint``.
"""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

LARGEST_SHARE = 0.02
"""Most of a training's time that its checkpoints may take."""


class TimedCheckpoints(TrainerCallback):
    """Asks for a checkpoint ``seconds`` after the last one, later where writing one takes long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.written = 0
        self.took = 0.0
        """Seconds of writing all of them."""
        self._last = time.perf_counter()
        self._asked: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._last = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        wait = max(self.seconds, self.took / max(1, self.written) / LARGEST_SHARE)
        # After the last step there is nothing left to lose.
        if time.perf_counter() - self._last >= wait and state.global_step < state.max_steps:
            control.should_save = True
            self._asked = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._last = time.perf_counter()
        if self._asked is not None:
            self.written += 1
            self.took += self._last - self._asked
            self._asked = None
