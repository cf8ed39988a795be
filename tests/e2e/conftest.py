"""Tests with real Dask processes in real pods."""

import pytest
from support.cluster import kubernetes as any_kubernetes
from support.operator import Operator


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl."""
    with any_kubernetes("e2e-tests", "198.19.32.0/19", node=True) as environment:
        yield environment


@pytest.fixture(scope="session")
def operator(admin, tmp_path_factory):
    """The operator, for all tests."""
    with Operator(admin.environment, tmp_path_factory.mktemp("operator")) as operator:
        yield operator
