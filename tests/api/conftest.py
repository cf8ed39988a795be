"""Fixtures for tests against a real API server without a node.

Pods stay pending unless a test sets their status. Operators have exactly the rights that the chart grants.
"""

import pytest
from support import chart
from support.cluster import kubernetes as any_kubernetes
from support.operator import Operator


@pytest.fixture(scope="session")
def kubernetes():
    """Environment for kubectl."""
    with any_kubernetes("api-tests", "198.19.0.0/19", node=False) as environment:
        yield environment


@pytest.fixture(scope="module")
def account(admin, request, tmp_path_factory):
    """Service account of an operator that manages all namespaces, from a release with the module's ``VALUES``."""
    with chart.account(admin, tmp_path_factory.mktemp("account"), **getattr(request.module, "VALUES", {})) as account:
        yield account


@pytest.fixture(scope="module")
def arguments():
    """Additional command-line arguments of the module's operator; empty unless a module overrides them."""
    return []


@pytest.fixture(scope="module")
def operator(account, arguments, tmp_path_factory):
    """Operator that runs for all tests of a module. The teardown fails if the API server refused one of its requests for lack of permissions."""
    with Operator(account.environment, tmp_path_factory.mktemp("operator"), *account.arguments(), *arguments) as operator:
        yield operator
        assert operator.missing_rights() == [], "the chart does not grant a right that the operator needs"


@pytest.fixture
def make_operator(admin, kubectl, tmp_path):
    """Factory for operators of a release that is limited to the test's namespace: a Role there, and no permissions elsewhere."""
    with chart.account(admin, tmp_path, namespaces=[kubectl.namespace]) as account:
        def make(*arguments, **environment):
            return Operator({**account.environment, **environment}, tmp_path, "--namespace", kubectl.namespace, *arguments)

        yield make
