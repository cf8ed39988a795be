"""Fixtures shared by all tests that run against a real Kubernetes."""

import os

import pytest
from localkube import scratch
from support import cluster
from support import kubectl as kubectl_module
from support.cluster import define_resources
from support.kubectl import Kubectl, Refused


def pytest_configure(config):
    """Show progress messages immediately although pytest captures output."""
    cluster.uncaptured = config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main():
    """Give the run a temporary folder, which is removed at its end. After failures it is kept until `make down`."""
    with scratch.folder() as folder:
        code = yield
        folder.keep = code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR)
    if folder.keep:
        cluster.tell(f"temporary files of this run, until `make down`: {folder.path}")
    return code


@pytest.fixture(scope="session")
def admin(kubernetes):
    """kubectl without a namespace, on a cluster in which the CRDs are installed."""
    admin = Kubectl(kubernetes)
    define_resources(admin)
    return admin


@pytest.fixture(scope="session")
def namespaces(admin):
    """Names of all namespaces that tests created. Waits for their deletion at the end of the session."""
    names = []
    yield names
    kubectl_module.await_end(admin.environment, names)


@pytest.fixture
def kubectl(admin, namespaces, request):
    """kubectl in a new namespace of the test, which is deleted after it."""
    kubectl = kubectl_module.new_namespace(admin.environment, request.node.name)
    namespaces.append(kubectl.namespace)
    yield kubectl
    kubectl_module.drop_namespace(kubectl)


@pytest.fixture(autouse=True)
def mark(request):
    """Position in the shared operator's log at the start of the test; None if the test has no ``operator`` fixture."""
    return request.getfixturevalue("operator").mark() if "operator" in request.fixturenames else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Add the namespace's objects, the schedulers' responses and the operator's log since the start of the test to a failure."""
    report = yield
    if report.failed and call.when == "call":
        kubectl, operator = item.funcargs.get("kubectl"), item.funcargs.get("operator")
        sections = []
        if kubectl:
            sections += [("objects in the namespace", kubectl.report), ("responses of the schedulers", kubectl.schedulers)]
        if operator:
            sections.append(("operator log since the start of the test", lambda: operator.since(item.funcargs["mark"])))
        for title, read in sections:
            try:
                report.sections.append((title, read()))
            except (Refused, OSError) as error:
                report.sections.append((title, str(error)))
    return report


# Retries -------------------------------------------------------------------
#
# Suites with real processes on a real node share the machine with other load. CI runs a failed test of such a suite a second
# time. The file that the environment variable RETRIES names collects the first failures; CI prints them and fails if there are
# more than two.


def pytest_runtest_logreport(report):
    """Record a failure after which the test is rerun."""
    if report.outcome == "rerun":
        sections = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
        with open(os.environ["RETRIES"], "a", encoding="utf-8") as retries:
            retries.write(f"RETRIED {report.nodeid}\n{report.longreprtext}{sections}\n\n")
