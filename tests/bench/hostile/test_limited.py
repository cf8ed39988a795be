"""Tests of the memory limit, the processors, the probes and the restarts."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import limited
import pytest
from limited import (
    FAILURES,
    PERIOD,
    STARTING,
    BackOff,
    Group,
    Liveness,
    Supervisor,
    default_limit,
    size,
    split_processors,
)
from support.waiting import until


@pytest.mark.parametrize("quantity, expected", [("512", 512), ("64Mi", 64 << 20), ("2Gi", 2 << 30)])
def test_sizes(quantity, expected):
    assert size(quantity) == expected


def test_the_chart_has_a_memory_limit():
    assert size(default_limit()) >= 256 << 20


@pytest.mark.parametrize("unified", [True, False])
def test_a_program_runs_in_the_group_on_its_processors(tmp_path, unified):
    root = tmp_path / "cgroup"
    top = root if unified else root / "memory"
    top.mkdir(parents=True)
    if unified:
        (root / "cgroup.controllers").write_text("memory")
    with Group("bench", 1 << 20, root) as group:
        assert (top / "bench" / group.limit_file).read_text() == str(1 << 20)
        own, _ = split_processors()
        program = group.program(sys.executable, tmp_path, set(own))
        seen = subprocess.run([program, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"], text=True, capture_output=True, check=True)
        assert seen.stdout == f"{own}\n"
        assert (top / "bench" / "cgroup.procs").read_text().strip().isdecimal()
        (top / "bench" / group.peak_file).write_text("77\n")
        (top / "bench" / group.kills_file).write_text("low 0\noom_kill 2\n")
        assert (group.peak(), group.kills()) == (77, 2)


def test_without_a_group_memory_is_not_limited(tmp_path):
    with Group("bench", 1, tmp_path / "nowhere") as group:
        assert not group.exists
        program = group.program("/bin/echo", tmp_path, split_processors()[0])
        assert subprocess.run([program, "here"], text=True, capture_output=True, check=True).stdout == "here\n"
        assert (group.peak(), group.kills()) == (None, 0)


@pytest.mark.parametrize("every, own, others", [({0}, [0], [0]), ({0, 1}, [1], [0]), ({1, 3, 5}, [5], [1, 3]), (range(8), [4, 5, 6, 7], [0, 1, 2, 3])])
def test_the_operator_has_half_of_the_processors(monkeypatch, every, own, others):
    monkeypatch.setattr(limited.os, "sched_getaffinity", lambda _: set(every))
    assert split_processors() == (own, others)


def test_the_back_off_grows_and_is_reset():
    back_off = BackOff()
    assert [back_off.pause(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.pause(601) == 0 and back_off.pause(1) == 10


def test_repeated_liveness_failures_end_the_process():
    alive = []
    liveness = Liveness(lambda: alive.pop(0), 0)
    # A probe that is not due makes no request.
    assert not liveness.has_failed(1)
    alive += [False, True]
    assert not liveness.has_failed(2) and not liveness.has_failed(4) and not liveness.has_failed(5)
    alive += [False] * (FAILURES - 1) + [True] + [False] * FAILURES
    found = [liveness.has_failed(4 + PERIOD * number) for number in range(1, 2 * FAILURES + 1)]
    assert found == [False] * (2 * FAILURES - 1) + [True] and not alive


def test_a_process_that_never_starts_is_ended():
    liveness = Liveness(lambda: False, 0)
    assert not liveness.has_failed(STARTING) and liveness.has_failed(STARTING + 2)


class Operator:
    """An operator that a signal terminates immediately."""

    address = "127.0.0.1:1"

    def __init__(self):
        self.started = 0
        self.start()

    def start(self, wait=True):
        self.started += 1
        self.process = SimpleNamespace(pid=1, poll=lambda: -signal.SIGKILL, returncode=-signal.SIGKILL)

    def tail(self, lines):
        return ""


def test_an_operator_is_restarted_after_its_end():
    supervisor = Supervisor(operator := Operator())
    supervisor.start()
    until(lambda: supervisor.restarts, "a restart")
    supervisor.stop()
    # The supervisor waits before the second restart.
    assert operator.started <= 2 and {restart["why"] for restart in supervisor.restarts} == {"was terminated by SIGKILL"}
