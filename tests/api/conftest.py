"""Tests against a real API server without a node: pods stay pending, or are marked by the tests."""

import pytest
from support.cluster import kubernetes as any_kubernetes
from support.operator import Operator


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl."""
    with any_kubernetes("api-tests", "198.19.0.0/19", node=False) as environment:
        yield environment


@pytest.fixture(scope="module")
def operator(admin, tmp_path_factory):
    """An operator that runs while the tests of a module do."""
    with Operator(admin.environment, tmp_path_factory.mktemp("operator")) as operator:
        yield operator
