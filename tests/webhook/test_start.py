"""Start of an operator that cannot list plugins: it refuses all requests, and reconciles nothing."""

import subprocess
import urllib.error

import pytest
from support import chart
from support.dask import workers
from support.hook import Hook, component
from support.kubectl import Refused
from support.manifests import API, changed, cluster
from support.operator import BINARY
from support.waiting import stays, until

NAME = "test-start"


def revoke(admin, account, resource):
    """Revokes a release's permissions to a cluster-scoped resource. Returns a function that restores them."""
    role = f"{account.name}-role-cluster"
    rules = admin.get("clusterrole", role)["rules"]
    remaining = [rule for rule in rules if not any(name.startswith(resource) for name in rule["resources"])]
    assert len(remaining) < len(rules)
    admin.patch("clusterrole", role, {"rules": remaining})
    return lambda: admin.patch("clusterrole", role, {"rules": rules})


def readiness(operator):
    """Body of the operator's answer at /readyz; empty if it does not answer."""
    try:
        return operator.fetch("/readyz")
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def refusal(kubectl, manifest):
    """Applies a manifest as a dry run that must be refused, and returns the error message."""
    with pytest.raises(Refused) as refused:
        kubectl.apply(manifest, options=["--dry-run=server"])
    return str(refused.value)


def test_an_operator_that_may_not_list_plugins_refuses_requests_and_creates_nothing(admin, kubectl, host, tmp_path):
    policy = component("required-limits")
    limited = {"limits": {"memory": "1Gi"}}
    kubectl.apply(changed(cluster("before", 1), "spec.worker.spec.containers.0.resources", limited))
    admin.apply({"apiVersion": API, "kind": "ClusterDaskPlugin", "metadata": {"name": NAME},
                 "spec": {"source": {"file": {"path": str(policy)}}}})
    try:
        with chart.account(admin, tmp_path) as account:
            restore = revoke(admin, account, "clusterdaskplugins")
            hook = Hook(admin, host, tmp_path, NAME, account, "--plugin-folder", policy.parent,
                        "--record-requests", tmp_path / "requests")
            hook.configure()
            try:
                hook.operator.start(wait=False)
                check_recovery(kubectl, hook, restore)
                check_recorded_requests(policy, tmp_path / "requests", kubectl.namespace)
            finally:
                hook.__exit__()
    finally:
        admin("delete", "clusterdaskplugin", NAME, "--ignore-not-found")


def check_recovery(kubectl, hook, restore):
    """Checks that the operator blocks everything until it may list plugins, and then continues without a restart."""
    operator = hook.operator
    hook.ask_for(kubectl)
    message = "the operator may not list clusterdaskplugins, and nothing is decided where a policy may be among them"
    until(lambda: message in readiness(operator), "the reason in the answer of /readyz")
    # The refusal comes from the webhook itself, as soon as it has a certificate.
    output = until(lambda: (output := refusal(kubectl, cluster("c", 1))) and message in output and output, "a refusal")
    assert "this can't be checked" in output and "list and watch of clusterdaskplugins" in output
    stays(lambda: not operator.is_ready() and not kubectl.names("pods"), "the state of an unready operator without pods")

    restore()
    until(operator.is_ready, "the operator to be ready")
    until(lambda: "policy required-limits " in refusal(kubectl, cluster("c", 1)), "the policy to be active")
    workers(kubectl, "before-default", 1)


def check_recorded_requests(policy, folder, namespace):
    """Checks that `plugin run` can replay recorded requests."""
    def run(kind):
        file = folder / f"{namespace}_{kind}.json"
        done = subprocess.run([BINARY, "plugin", "run", policy, "-f", file], text=True, capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr
    exit_code, output = run("c_DaskCluster_create")
    assert exit_code == 1 and "DaskCluster c: refused (create)" in output and "resources.limits.memory" in output, output
    exit_code, output = run("before-default_DaskWorkerGroup_observation")
    assert exit_code == 0 and "planned:" in output and "without the plugin it is the same" in output, output
