"""The operator's word, without which nothing starts: a person's at a terminal, or by the robot's own remote beside it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Protocol


class Word(Protocol):
    """Nothing starts before it is given."""

    def given(self, question: str, pressed: bool = False) -> bool:
        """Whether the person has said yes since it was asked; asks where nobody has. ``pressed``: so says the robot's remote."""
        ...

    def stopped(self) -> bool:
        """Whether the person has asked for an end."""
        ...


class Auto:
    """Says yes: for a simulated robot."""

    def given(self, question: str, pressed: bool = False) -> bool:
        return True

    def stopped(self) -> bool:
        return False


class Enter:
    """A person at a terminal: Enter starts; while the robot walks, Enter lies it down; so does q."""

    def __init__(self, read: Callable[[], str] = sys.stdin.readline) -> None:
        self._read, self._lines, self._asked, self._stop = read, list[str](), "", False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while line := self._read():
            self._lines.append(line.strip().lower())
        self._lines.append("q")  # the terminal is gone

    def given(self, question: str, pressed: bool = False) -> bool:
        if question != self._asked:
            self._lines.clear()  # what was said or pressed before it was asked is no answer
            self._asked, pressed = question, False
            print(f"{question}  [Enter: go, q: end]", flush=True)
        if not self._lines and not pressed:
            return False
        self._stop |= "q" in self._lines
        self._lines.clear()
        self._asked = ""
        return not self._stop

    def stopped(self) -> bool:
        if self._lines and not self._asked:
            self._lines.clear()
            self._stop = True
        return self._stop
