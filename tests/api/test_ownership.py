"""Ownership of objects: the operator ignores foreign ownership claims, and does not adopt objects of other owners."""

import json

import pytest
from support import kubectl as kubectl_module
from support.kubectl import Refused
from support.manifests import group, job
from support.waiting import stays, until


def test_owner_references_from_another_namespace_are_ignored(admin, namespaces, kubectl, operator):
    """UIDs are no secret. The decoy is a finished runner in a namespace that sorts first; it must not end the job."""
    def job_status():
        return kubectl.get("djb", "j").get("status", {}).get("jobStatus")

    kubectl.apply(job("j"))
    until(lambda: kubectl.get("pod", "j-runner"), "the runner")
    kubectl.patch("pod", "j-runner", {"status": {"phase": "Running"}}, subresource="status")
    until(lambda: job_status() == "Running", "the job to run")
    other = kubectl_module.new_namespace(admin.environment, "aaa")
    namespaces.append(other.namespace)
    owner = {"apiVersion": "no.such/v1", "kind": "DaskJob", "name": "j", "uid": kubectl.get("djb", "j")["metadata"]["uid"]}
    labels = {"dask.org/cluster-name": "j", "dask.org/component": "job-runner"}
    metadata = {"name": "j-runner", "labels": labels, "ownerReferences": [{**owner, "controller": True}]}
    decoy = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "r", "image": "i:1"}]}}
    other("create", "--field-manager=dask-operator", "--filename", "-", stdin=json.dumps(decoy))
    other.patch("pod", "j-runner", {"status": {"phase": "Succeeded"}}, subresource="status")
    stays(lambda: job_status() == "Running", "the status of the job")
    kubectl_module.drop_namespace(other)


@pytest.mark.parametrize("manifest", [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}},
    group("g", "elsewhere", 0),
], ids=["of Kubernetes", "of Dask"])
def test_an_apply_with_a_made_up_resource_version_creates_and_never_updates(kubectl, manifest):
    """The operator creates children with such an apply, so that it never overwrites an object that another client created first."""
    metadata = {**manifest["metadata"], "resourceVersion": "1"}
    manifest_with_label = {**manifest, "metadata": {**metadata, "labels": {"by": "us"}}}
    kubectl.apply(manifest_with_label, options=("--server-side", "--field-manager=us"))
    assert kubectl.get(manifest["kind"], metadata["name"])["metadata"]["labels"] == {"by": "us"}
    manifest_with_another_label = {**manifest, "metadata": {**metadata, "labels": {"by": "us", "more": "no"}}}
    for options in ((), ("--force-conflicts",)):
        with pytest.raises(Refused, match="object has been modified|conflict"):
            kubectl.apply(manifest_with_another_label, options=("--server-side", "--field-manager=us", *options))
    assert kubectl.get(manifest["kind"], metadata["name"])["metadata"]["labels"] == {"by": "us"}
