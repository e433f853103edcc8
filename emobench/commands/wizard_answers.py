"""Answers: a question's answer from its flag, from the terminal, or its default. Knows nothing of what is asked.

Questions that have a flag are asked only where the flag was not given; without a terminal nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emobench.errors import SpecError, unknown_name
from emobench.extras import require


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer of a list."""

    value: str
    text: str = ""
    """What is said of it beside its name."""

    @property
    def line(self) -> str:
        """Name and text, as a list shows them."""
        return f"{self.value}: {self.text}" if self.text else self.value


class Asker(Protocol):
    """What puts questions to a person."""

    def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        """One of the choices' values."""
        ...

    def enter(self, question: str, default: str, refuse: Callable[[str], str | None]) -> str:
        """A text for which ``refuse`` gives None; what it gives otherwise is shown, and the question asked again."""
        ...

    def confirm(self, question: str, *, default: bool) -> bool:
        """Yes or no."""
        ...


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How the questions of one walk are answered, and where its lines go."""

    given: Mapping[str, str]
    """Flag without dashes to its value, of those that were given."""
    asker: Asker | None
    """None takes the default of every question."""
    say: Callable[[str], None]

    def choose(self, flag: str, question: str, choices: Sequence[Choice], *, default: str) -> str:
        """One of the choices, of which there is one at least; ``default`` is one of them.

        Raises:
            SpecError: the flag's value is not among them; names the nearest.
        """
        by_value = {choice.value: choice for choice in choices}
        if flag not in self.given and self.asker is not None:
            return self.asker.choose(f"{question} (--{flag})", choices, default)
        answer = self.given.get(flag, default)
        if answer not in by_value:
            raise unknown_name(f"value of --{flag} here:", answer, by_value)
        self.say(f"{question}: {by_value[answer].line}")
        return answer

    def enter(self, flag: str, question: str, *, default: str, refuse: Callable[[str], str | None]) -> str:
        """A text that ``refuse`` has nothing against.

        Raises:
            SpecError: the flag's value is refused; gives the reason.
        """
        if flag not in self.given and self.asker is not None:
            return self.asker.enter(f"{question} (--{flag})", default, refuse)
        answer = self.given.get(flag, default)
        reason = refuse(answer)
        if reason:
            raise SpecError(f"--{flag} {answer}", why=reason, fix="give another value")
        self.say(f"{question}: {answer}")
        return answer


class Terminal:
    """Asks at the terminal with the keyboard; Ctrl-C and Ctrl-D end the walk.

    Raises:
        MissingExtraError: the package that draws the questions is not installed.
    """

    def __init__(self) -> None:
        self._library: Any = require("questionary", feature="the wizard at a terminal", extra="wizard")

    def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        options = [self._library.Choice(title=choice.line, value=choice.value) for choice in choices]
        return str(_answer(self._library.select(question, choices=options, default=default)))

    def enter(self, question: str, default: str, refuse: Callable[[str], str | None]) -> str:
        prompt = self._library.text(question, default=default, validate=lambda text: refuse(text) or True)
        return str(_answer(prompt)).strip()

    def confirm(self, question: str, *, default: bool) -> bool:
        return bool(_answer(self._library.confirm(question, default=default)))


def _answer(prompt: Any) -> Any:
    """A prompt's answer; the end of the input is an interrupt like any other."""
    try:
        return prompt.unsafe_ask()
    except EOFError as error:
        raise KeyboardInterrupt from error


def whole_number(text: str) -> str | None:
    """Why a text is no whole number above 0, or None where it is one."""
    return None if text.strip().isdecimal() and int(text) > 0 else f"{text!r} is no whole number above 0"


def positive_number(text: str) -> str | None:
    """Why a text is no finite number above 0, or None where it is one."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    return None if 0 < value < float("inf") else f"{text!r} is no number above 0"
