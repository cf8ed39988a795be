"""Permissions of this suite's operator: those of the release's service account, exactly as the chart grants them."""

import json

import pytest
from support.kubectl import Kubectl, Refused

#: Requests that an attacker with control of the operator's process must not be able to make.
DANGEROUS = [
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
    """Returns whether an environment's account may use the verb on the resource in the namespace."""
    resource, _, subresource = resource.partition("/")  # kubectl reads the part after a slash as an object name
    try:
        return Kubectl(environment, namespace)("auth", "can-i", verb, resource, f"--subresource={subresource}").strip() == "yes"
    except Refused:  # kubectl reports a denial by its exit code, too
        return False


def test_the_operator_uses_the_service_account_of_the_release(account, operator):
    assert operator.environment["KUBECONFIG"] == account.environment["KUBECONFIG"]
    identity = json.loads(Kubectl(account.environment)("auth", "whoami", "--output", "json"))
    assert identity["status"]["userInfo"]["username"] == f"system:serviceaccount:{account.name}:{account.name}"


@pytest.mark.parametrize("verb, resource", DANGEROUS)
def test_a_dangerous_right_is_not_granted(account, kubectl, verb, resource):
    assert may(account.environment, kubectl.namespace, "create", "pods"), "the account has no rights at all"
    assert not may(account.environment, kubectl.namespace, verb, resource)


def test_a_namespaced_account_has_no_rights_elsewhere(make_operator, kubectl):
    environment = make_operator().environment
    assert may(environment, kubectl.namespace, "create", "pods")
    assert not may(environment, "default", "list", "pods")
    assert not may(environment, "default", "list", "daskclusters.kubernetes.dask.org")
    assert not may(environment, kubectl.namespace, "list", "nodes")
