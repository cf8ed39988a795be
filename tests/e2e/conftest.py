"""Tests with real Dask processes in real pods, and the operator in one too: installed by helm, its webhook on.

On somebody's cluster, which can't have its image, the operator is a process of this machine with a release's rights.
"""

from contextlib import ExitStack

import pytest
from support import chart
from support.cluster import define_resources, local_name
from support.cluster import kubernetes as any_kubernetes
from support.kubectl import Kubectl
from support.operator import Operator
from support.release import Installed, put_image


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl."""
    with any_kubernetes("e2e-tests", "198.19.32.0/19", node=True) as environment:
        yield environment


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl on the cluster as a whole. The Dask resources are defined by the release."""
    return Kubectl(kubernetes)


@pytest.fixture(scope="session")
def operator(admin, tmp_path_factory):
    """The operator, for all tests; in the end nothing was forbidden it."""
    with ExitStack() as stack:
        cluster = local_name(admin.environment)
        if cluster:
            put_image(cluster)
            # An image of the same name may be another one than that of an earlier run.
            operator = Installed(admin, image={"pullPolicy": "Always"})
        else:
            define_resources(admin)
            account = stack.enter_context(chart.account(admin, tmp_path_factory.mktemp("account")))
            operator = Operator(account.environment, tmp_path_factory.mktemp("operator"), *account.arguments())
        with operator:
            yield operator
            assert operator.missing_rights() == [], "the chart does not allow what the operator does"
