"""Fixtures of all tests against a real Kubernetes."""

import pytest
from support import kubectl as kubectl_module
from support.cluster import define_resources
from support.kubectl import Kubectl, Refused


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl on the cluster as a whole, with the Dask resources defined."""
    admin = Kubectl(kubernetes)
    define_resources(admin)
    return admin


@pytest.fixture(scope="session")
def namespaces(admin):
    """The names of all namespaces that tests made. In the end none of them is left."""
    names = []
    yield names
    kubectl_module.await_end(admin.environment, names)


@pytest.fixture
def kubectl(admin, namespaces, request):
    """kubectl in a namespace of the test's own, which is deleted in the end."""
    kubectl = kubectl_module.new_namespace(admin.environment, request.node.name)
    namespaces.append(kubectl.namespace)
    yield kubectl
    kubectl_module.drop_namespace(kubectl)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure, say what there is in the namespace, and the end of the operator's log."""
    report = yield
    if report.failed and call.when == "call":
        kubectl = item.funcargs.get("kubectl")
        operator = item.funcargs.get("operator")
        if kubectl:
            try:
                report.sections.append(("what there is", kubectl.report()))
            except (Refused, OSError) as error:
                report.sections.append(("what there is", str(error)))
        if operator:
            report.sections.append(("the operator's log", operator.tail()))
    return report
