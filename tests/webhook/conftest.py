"""Fixtures for tests of the webhook on a real API server without a node, through kubectl."""

import pytest
from support.cluster import host_address
from support.cluster import kubernetes as any_kubernetes
from support.hook import hook as any_hook
from support.operator import Operator

RANGE = "198.19.64.0/20"


@pytest.fixture(scope="session")
def kubernetes():
    """Environment for kubectl."""
    with any_kubernetes("webhook", RANGE, node=False) as environment:
        yield environment


@pytest.fixture(scope="session")
def host():
    """Address at which the API server reaches this machine."""
    return host_address(RANGE)


@pytest.fixture(scope="module")
def hook(admin, host, tmp_path_factory, request):
    """Webhook that the API server calls during a module's tests. The operator gets the module's ``ARGUMENTS``."""
    name = request.module.__name__.replace("_", "-")
    arguments = getattr(request.module, "ARGUMENTS", [])
    with any_hook(admin, host, tmp_path_factory.mktemp("operator"), name, *arguments) as hook:
        yield hook


@pytest.fixture
def operator(hook) -> Operator:
    """Operator that serves the webhook. Its log is part of the report of a failed test."""
    return hook.operator


@pytest.fixture
def reviewed(kubectl, hook):
    """kubectl in a namespace whose requests the webhook reviews."""
    hook.ask_for(kubectl)
    return kubectl
