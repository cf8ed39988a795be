"""Fixtures of all tests against a real Kubernetes."""

import os

import pytest
from support import cluster
from support import kubectl as kubectl_module
from support.cluster import define_resources
from support.kubectl import Kubectl, Refused


def pytest_configure(config):
    """What is waited for is told at once, though output is kept."""
    cluster.aloud = config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled


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


@pytest.fixture(autouse=True)
def mark(request):
    """Where the operator's log was when the test began; None where a test has no operator that others use, too."""
    return request.getfixturevalue("operator").mark() if "operator" in request.fixturenames else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure, say what there is in the namespace, what the schedulers answer, and what the operator logged meanwhile."""
    report = yield
    if report.failed and call.when == "call":
        kubectl, operator = item.funcargs.get("kubectl"), item.funcargs.get("operator")
        looks = []
        if kubectl:
            looks += [("what there is", kubectl.report), ("the schedulers' answers", kubectl.schedulers)]
        if operator:
            looks.append(("the operator's log since the test began", lambda: operator.since(item.funcargs["mark"])))
        for title, look in looks:
            try:
                report.sections.append((title, look()))
            except (Refused, OSError) as error:
                report.sections.append((title, str(error)))
    return report


# Retries -------------------------------------------------------------------
#
# Real processes on a real node share the machine with whatever else runs there. In CI, a test of such a suite is tried once
# more; the file that RETRIES names collects the first failures, and CI prints them and fails when there are many.


def pytest_runtest_logreport(report):
    """Note a failure after which the test is tried again."""
    if report.outcome == "rerun":
        sections = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
        with open(os.environ["RETRIES"], "a", encoding="utf-8") as retries:
            retries.write(f"RETRIED {report.nodeid}\n{report.longreprtext}{sections}\n\n")

