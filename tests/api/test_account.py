"""The operator of this suite is the release's service account, and has the rights of the chart and no others."""

import json

import pytest
from support.kubectl import Kubectl, Refused

#: What whoever took over the operator's process would like to do.
WISHES = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "secrets"),
    ("list", "configmaps"),
    ("create", "pods/exec"),
    ("get", "pods/log"),
    ("create", "serviceaccounts/token"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("escalate", "clusterroles.rbac.authorization.k8s.io"),
    ("impersonate", "users"),
    ("patch", "nodes"),
    ("create", "daskplugins.kubernetes.dask.org"),
    ("create", "clusterdaskplugins.kubernetes.dask.org"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "validatingwebhookconfigurations.admissionregistration.k8s.io"),
    ("*", "*"),
]


def may(environment, namespace, verb, resource):
    """Whether the account of an environment may do this in a namespace."""
    resource, _, part = resource.partition("/")  # kubectl takes what follows a slash for an object's name
    try:
        return Kubectl(environment, namespace)("auth", "can-i", verb, resource, f"--subresource={part}").strip() == "yes"
    except Refused:  # kubectl says no by its exit code, too
        return False


def test_it_is_the_account_of_the_release(account, operator):
    assert operator.environment["KUBECONFIG"] == account.environment["KUBECONFIG"]
    seen = json.loads(Kubectl(account.environment)("auth", "whoami", "--output", "json"))
    assert seen["status"]["userInfo"]["username"] == f"system:serviceaccount:{account.name}:{account.name}"


@pytest.mark.parametrize("verb, resource", WISHES)
def test_the_account_may_not(account, kubectl, verb, resource):
    assert may(account.environment, kubectl.namespace, "create", "pods"), "the account may do nothing at all"
    assert not may(account.environment, kubectl.namespace, verb, resource)


def test_an_account_of_one_namespace_may_nothing_in_another(own, kubectl):
    environment = own().environment
    assert may(environment, kubectl.namespace, "create", "pods")
    assert not may(environment, "default", "list", "pods")
    assert not may(environment, "default", "list", "daskclusters.kubernetes.dask.org")
    assert not may(environment, kubectl.namespace, "list", "nodes")
