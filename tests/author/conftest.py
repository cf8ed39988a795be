"""The tools for authors, as a person uses them."""

import os
from pathlib import Path

import pytest
from support.operator import BINARY


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """An environment in which `dask-operator` is a command, and nobody is logged in anywhere."""
    assert BINARY.exists(), f"{BINARY} is not there; build it: cargo build"
    commands = tmp_path_factory.mktemp("bin")
    (commands / "dask-operator").symlink_to(Path(BINARY).resolve())
    nobody = tmp_path_factory.mktemp("docker")
    return {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "DOCKER_CONFIG": str(nobody)}
