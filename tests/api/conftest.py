"""Tests against a real API server without a node: pods stay pending, or are marked by the tests.

Operators have the rights that the chart gives them, and no others.
"""

import pytest
from support import chart
from support.cluster import kubernetes as any_kubernetes
from support.operator import Operator


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl."""
    with any_kubernetes("api-tests", "198.19.0.0/19", node=False) as environment:
        yield environment


@pytest.fixture(scope="module")
def account(admin, request, tmp_path_factory):
    """The account of an operator that looks after all namespaces, of a release with the ``VALUES`` of the module."""
    with chart.account(admin, tmp_path_factory.mktemp("account"), **getattr(request.module, "VALUES", {})) as account:
        yield account


@pytest.fixture(scope="module")
def arguments():
    """More arguments of the module's operator."""
    return []


@pytest.fixture(scope="module")
def operator(account, arguments, tmp_path_factory):
    """An operator that runs while the tests of a module do, and was forbidden nothing."""
    with Operator(account.environment, tmp_path_factory.mktemp("operator"), *account.arguments(), *arguments) as operator:
        yield operator
        assert operator.missing_rights() == [], "the chart does not allow what the operator does"


@pytest.fixture
def own(admin, kubectl, tmp_path):
    """Makes operators of a release for the test's namespace only: with a Role in it, and no rights elsewhere."""
    with chart.account(admin, tmp_path, namespaces=[kubectl.namespace]) as account:
        def make(*arguments, **environment):
            return Operator({**account.environment, **environment}, tmp_path, "--namespace", kubectl.namespace, *arguments)

        yield make
