"""The webhook on a real API server without a node: kubectl shows what people see."""

import ipaddress
import os

import pytest
from support.cluster import kubernetes as any_kubernetes
from support.hook import hook as any_hook
from support.operator import Operator

RANGE = "198.19.64.0/20"


@pytest.fixture(scope="session")
def kubernetes():
    """The environment for kubectl."""
    with any_kubernetes("webhook", RANGE, node=False) as environment:
        yield environment


@pytest.fixture(scope="session")
def host():
    """This machine's address as the API server reaches it. For a cluster of KUBECONFIG, WEBHOOK_HOST names it."""
    if os.environ.get("KUBECONFIG"):
        return os.environ["WEBHOOK_HOST"]
    return str(ipaddress.ip_network(RANGE)[-3])


@pytest.fixture(scope="module")
def hook(admin, host, tmp_path_factory, request):
    """A webhook that is asked while the tests of a module run; ``ARGUMENTS`` of the module are for the operator."""
    name = request.module.__name__.replace("_", "-")
    arguments = getattr(request.module, "ARGUMENTS", [])
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), name, *arguments) as hook:
        yield hook


@pytest.fixture
def operator(hook) -> Operator:
    """Its operator, whose log is shown with a failure."""
    return hook.operator


@pytest.fixture
def asked(kubectl, hook):
    """kubectl in a namespace whose requests the webhook is asked about."""
    hook.ask_for(kubectl)
    return kubectl
