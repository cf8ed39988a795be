"""The limit of memory."""

import subprocess

import pytest
from limited import Group, default_limit, size


@pytest.mark.parametrize("quantity, expected", [("512", 512), ("64Mi", 64 << 20), ("2Gi", 2 << 30)])
def test_sizes(quantity, expected):
    assert size(quantity) == expected


def test_the_charts_limit_is_known():
    assert size(default_limit()) >= 256 << 20


@pytest.mark.parametrize("unified", [True, False])
def test_a_program_joins_the_group_before_it_begins(tmp_path, unified):
    root = tmp_path / "cgroup"
    top = root if unified else root / "memory"
    top.mkdir(parents=True)
    if unified:
        (root / "cgroup.controllers").write_text("memory")
    with Group("bench", 1 << 20, root) as group:
        assert (top / "bench" / group.limit_file).read_text() == str(1 << 20)
        program = group.program("/bin/echo", tmp_path)
        assert subprocess.run([program, "here"], text=True, capture_output=True, check=True).stdout == "here\n"
        assert (top / "bench" / "cgroup.procs").read_text().strip().isdecimal()
        (top / "bench" / group.peak_file).write_text("77\n")
        (top / "bench" / group.kills_file).write_text("low 0\noom_kill 2\n")
        assert (group.peak(), group.kills()) == (77, 2)


def test_without_groups_nothing_is_limited(tmp_path):
    with Group("bench", 1, tmp_path / "nowhere") as group:
        assert not group.is_there and group.program("/bin/echo", tmp_path) == "/bin/echo"
        assert (group.peak(), group.kills()) == (None, 0)
