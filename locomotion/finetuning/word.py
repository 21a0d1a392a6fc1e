"""The operator's word, without which nothing starts: a person's at a terminal, or by the robot's own remote beside it."""

from __future__ import annotations

import os
import select
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
    """A person at a ``terminal``, a file descriptor: Enter starts, and no other word does; while the robot walks, any line lies it down; so
    does what begins with q, or a terminal that is gone. Asked from the control loop, at a system call or two a step: a thread that listens
    would hold up the loop wherever a busy computer takes the processor from it.
    """

    def __init__(self, terminal: int = 0) -> None:
        self._terminal, self._rest, self._lines, self._asked, self._stop = terminal, b"", list[str](), "", False
        self._poll = select.poll()
        self._poll.register(terminal, select.POLLIN)

    def given(self, question: str, pressed: bool = False) -> bool:
        self._hear()
        if question != self._asked:
            self._lines.clear()  # what was said or pressed before it was asked is no answer
            self._asked, pressed = question, False
            print(f"{question}  [Enter: go, q: end]", flush=True)
        if not self._lines and not pressed:
            return False
        self._stop |= any(line.startswith("q") for line in self._lines)
        said = all(line == "" for line in self._lines)  # "no" and "wait" are no word to start: it is asked again
        self._lines.clear()
        self._asked = ""
        return said and not self._stop

    def stopped(self) -> bool:
        self._hear()
        if self._lines and not self._asked:
            self._lines.clear()
            self._stop = True
        return self._stop

    def _hear(self) -> None:
        """Whole lines that wait; none from a terminal that is not ours to read, which would stop the process."""
        try:
            if os.isatty(self._terminal) and os.tcgetpgrp(self._terminal) != os.getpgrp():
                return
            if not self._poll.poll(0):
                return
            data = os.read(self._terminal, 1024)
        except OSError:
            data = b""
        self._stop |= not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += [line.strip().lower().decode(errors="replace") for line in lines]
