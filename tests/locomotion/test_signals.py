"""Ctrl-C, SIGTERM and SIGHUP end any command in order: a word, a status, no traceback, no process and no half file left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from locomotion import files
from locomotion.cli import main
from locomotion.commands import report

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def half_written(tmp_path, monkeypatch):
    """``locomotion report`` gets a signal when half of its file is written; the file, and what to send."""
    page, sent = tmp_path / "report.html", []
    page.write_text("older")

    def write(stream):
        stream.write(b"half")
        os.kill(os.getpid(), sent[0])
        time.sleep(5.0)

    monkeypatch.setattr(report, "run", lambda config, given: files.write_atomically(page, write) or 0)
    return page, sent


@pytest.mark.usefixtures("hangs_up")
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_command_with_its_own_status_and_leaves_the_older_file(number, half_written, capsys):
    page, sent = half_written
    sent.append(number)
    before = {one: signal.getsignal(one) for one in ENDING}
    assert main(["report", "run=x"]) == 128 + number
    assert capsys.readouterr().err == ("interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert page.read_text() == "older"
    assert list(page.parent.iterdir()) == [page]
    assert {one: signal.getsignal(one) for one in ENDING} == before


def test_what_is_ignored_stays_ignored(monkeypatch):
    """As under nohup."""
    monkeypatch.setattr(report, "run", lambda config, given: os.kill(os.getpid(), signal.SIGHUP) or 7)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["report", "run=x"]) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_processes_that_wait_for_each_other_are_left_to_torchrun(monkeypatch):
    seen = []
    monkeypatch.setattr(report, "run", lambda config, given: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
    for size in ("1", "2"):
        monkeypatch.setenv("WORLD_SIZE", size)
        assert main(["report", "run=x"]) == 0
    assert callable(seen[0])
    assert seen[1] == signal.SIG_DFL


def of_group(group: int) -> set[int]:
    """Processes of a group that have not ended."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.add(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDING)
def test_a_terminal_ends_a_command_with_processes_of_its_own(number, bundle, tmp_path):
    """Which tells all of them, as soon as they are there."""
    words = [sys.executable, "-m", "locomotion.cli", "hil", "run", f"policy={bundle}", f"output={tmp_path / 'out'}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    until = time.monotonic() + 120.0
    while len(of_group(process.pid)) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    out, said = process.communicate(timeout=120.0)
    assert process.returncode == 128 + number, said
    assert said == ("interrupted\n" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert "Traceback" not in out
    assert not of_group(process.pid)
