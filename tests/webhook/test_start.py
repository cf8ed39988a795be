"""An operator that does not know which plugins are in force: nothing passes unjudged, and nothing is done."""

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


def take_away(admin, account, resource):
    """Take a release's rights to a kind of the cluster away. Returns what gives them back."""
    role = f"{account.name}-role-cluster"
    rules = admin.get("clusterrole", role)["rules"]
    rest = [rule for rule in rules if not any(name.startswith(resource) for name in rule["resources"])]
    assert len(rest) < len(rules)
    admin.patch("clusterrole", role, {"rules": rest})
    return lambda: admin.patch("clusterrole", role, {"rules": rules})


def readiness(operator):
    """What it says of its readiness."""
    try:
        return operator.fetch("/readyz")
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def refusal(kubectl, manifest):
    """The words with which a manifest is refused; nothing is applied."""
    with pytest.raises(Refused) as refused:
        kubectl.apply(manifest, options=["--dry-run=server"])
    return str(refused.value)


def test_plugins_that_may_not_be_listed(admin, kubectl, host, tmp_path):
    policy = component("required-limits")
    limited = {"limits": {"memory": "1Gi"}}
    kubectl.apply(changed(cluster("before", 1), "spec.worker.spec.containers.0.resources", limited))
    admin.apply({"apiVersion": API, "kind": "ClusterDaskPlugin", "metadata": {"name": NAME},
                 "spec": {"source": {"file": {"path": str(policy)}}}})
    try:
        with chart.account(admin, tmp_path) as account:
            give_back = take_away(admin, account, "clusterdaskplugins")
            hook = Hook(admin, host, tmp_path, NAME, account, "--plugin-folder", policy.parent,
                        "--record-requests", tmp_path / "requests")
            hook.configure()
            try:
                hook.operator.start(wait=False)
                watch(kubectl, hook, give_back)
                replay(policy, tmp_path / "requests", kubectl.namespace)
            finally:
                hook.__exit__()
    finally:
        admin("delete", "clusterdaskplugin", NAME, "--ignore-not-found")


def watch(kubectl, hook, give_back):
    """It holds until it may list them, and goes on by itself."""
    operator = hook.operator
    hook.ask_for(kubectl)
    sentence = "the operator may not list clusterdaskplugins, and nothing is decided where a policy may be among them"
    until(lambda: sentence in readiness(operator), "the sentence")
    # The answer comes from the webhook itself, as soon as it has a certificate.
    said = until(lambda: (said := refusal(kubectl, cluster("c", 1))) and sentence in said and said, "a refusal")
    assert "nobody can say whether this is right" in said and "list and watch of clusterdaskplugins" in said
    stays(lambda: not operator.is_ready() and not kubectl.names("pods"), "unready, and without pods")

    give_back()
    until(operator.is_ready, "the operator to be ready")
    until(lambda: "policy required-limits " in refusal(kubectl, cluster("c", 1)), "the policy to be in force")
    workers(kubectl, "before-default", 1)


def replay(policy, folder, namespace):
    """What was asked can be asked again on the command line."""
    def run(kind):
        file = folder / f"{namespace}_{kind}.json"
        done = subprocess.run([BINARY, "plugin", "run", policy, "-f", file], text=True, capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr
    code, said = run("c_DaskCluster_create")
    assert code == 1 and "DaskCluster c: refused (create)" in said and "resources.limits.memory" in said, said
    code, said = run("before-default_DaskWorkerGroup_observation")
    assert code == 0 and "planned:" in said and "without the plugin it is the same" in said, said
