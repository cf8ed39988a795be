"""Whose an object is: what others say of theirs counts for nothing, and nothing of others is taken over."""

import json

import pytest
from support import kubectl as kubectl_module
from support.kubectl import Refused
from support.manifests import group, job
from support.waiting import stays, until


def test_what_another_namespace_says_of_its_objects_counts_for_nothing(admin, namespaces, kubectl, operator):
    """Uids are no secret. A runner that has ended, of a namespace that comes first, would end the job."""
    def stage():
        return kubectl.get("djb", "j").get("status", {}).get("jobStatus")

    kubectl.apply(job("j"))
    until(lambda: kubectl.get("pod", "j-runner"), "the runner")
    kubectl.patch("pod", "j-runner", {"status": {"phase": "Running"}}, subresource="status")
    until(lambda: stage() == "Running", "a job that runs")
    other = kubectl_module.new_namespace(admin.environment, "aaa")
    namespaces.append(other.namespace)
    owner = {"apiVersion": "no.such/v1", "kind": "DaskJob", "name": "j", "uid": kubectl.get("djb", "j")["metadata"]["uid"]}
    labels = {"dask.org/cluster-name": "j", "dask.org/component": "job-runner"}
    metadata = {"name": "j-runner", "labels": labels, "ownerReferences": [{**owner, "controller": True}]}
    decoy = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "r", "image": "i:1"}]}}
    other("create", "--field-manager=dask-operator", "--filename", "-", stdin=json.dumps(decoy))
    other.patch("pod", "j-runner", {"status": {"phase": "Succeeded"}}, subresource="status")
    stays(lambda: stage() == "Running", "the job")
    kubectl_module.drop_namespace(other)


@pytest.mark.parametrize("manifest", [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}},
    group("g", "elsewhere", 0),
], ids=["of Kubernetes", "of Dask"])
def test_an_apply_over_the_version_of_nothing_creates_and_changes_nothing(kubectl, manifest):
    """The operator makes children that it applies so: whoever was quicker keeps what is theirs."""
    metadata = {**manifest["metadata"], "resourceVersion": "1"}
    asked = {**manifest, "metadata": {**metadata, "labels": {"by": "us"}}}
    kubectl.apply(asked, options=("--server-side", "--field-manager=us"))
    assert kubectl.get(manifest["kind"], metadata["name"])["metadata"]["labels"] == {"by": "us"}
    again = {**manifest, "metadata": {**metadata, "labels": {"by": "us", "more": "no"}}}
    for options in ((), ("--force-conflicts",)):
        with pytest.raises(Refused, match="object has been modified|conflict"):
            kubectl.apply(again, options=("--server-side", "--field-manager=us", *options))
    assert kubectl.get(manifest["kind"], metadata["name"])["metadata"]["labels"] == {"by": "us"}
