"""Fixtures for tests with real Dask processes in real pods. The operator is installed by helm, with its webhook enabled.

On a cluster that the suite did not start, the operator's image is not available. There the operator is a process of this machine
with the rights of a release.
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
    """Environment for kubectl."""
    with any_kubernetes("e2e-tests", "198.19.32.0/19", node=True) as environment:
        yield environment


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl without a namespace. The CRDs of the Dask resources are installed by the release."""
    return Kubectl(kubernetes)


@pytest.fixture(scope="session")
def operator(admin, tmp_path_factory):
    """Operator for all tests. The teardown fails if the API server refused one of its requests for lack of permissions."""
    with ExitStack() as stack:
        cluster = local_name(admin.environment)
        if cluster:
            put_image(cluster)
            # The image may differ from the one of the same name in an earlier run.
            operator = Installed(admin, image={"pullPolicy": "Always"})
        else:
            define_resources(admin)
            account = stack.enter_context(chart.account(admin, tmp_path_factory.mktemp("account")))
            operator = Operator(account.environment, tmp_path_factory.mktemp("operator"), *account.arguments())
        with operator:
            yield operator
            assert operator.missing_rights() == [], "the chart does not grant a right that the operator needs"
