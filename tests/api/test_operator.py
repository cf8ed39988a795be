"""The operator on a real API server without a node. Pods stay pending unless a test sets their status."""

import json

import pytest
from support import kubectl as kubectl_module
from support.dask import WORKERS, workers
from support.kubectl import Kubectl, Refused
from support.manifests import API, autoscaler, changed, cluster, group, job, pod
from support.waiting import COLLECTED, GENEROUS, stays, until

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


def set_pod_status(kubectl, name, phase, **more):
    """Sets the status of a pod, in place of a kubelet."""
    is_ready = "True" if phase == "Running" else "False"
    conditions = [{"type": kind, "status": is_ready} for kind in ("Ready", "ContainersReady")]
    kubectl.patch("pod", name, {"status": {"phase": phase, "conditions": conditions, **more}}, subresource="status")


def uid(kubectl, name):
    """UID of a pod; None if there is no such pod."""
    return (kubectl.get("pod", name) or {}).get("metadata", {}).get("uid")


def condition(object, type):
    """Condition of an object by its type; None if the object has none of that type."""
    for condition in (object or {}).get("status", {}).get("conditions", []):
        if condition["type"] == type:
            return condition
    return None


def await_phase(kubectl, name, phase, timeout=GENEROUS):
    """Waits until a cluster has this phase."""
    until(lambda: (kubectl.get("dsk", name) or {}).get("status", {}).get("phase") == phase,
          f"phase {phase} of {name}", timeout)


# Children ------------------------------------------------------------------


def test_a_cluster_gets_its_children(kubectl, operator):
    kubectl.apply(cluster("c", 3, labels={"team": "a"}, annotations={"note": "b"}))
    pods = workers(kubectl, "c-default", 3)
    await_phase(kubectl, "c", "Running")
    assert kubectl.names("pods") == sorted([*pods, "c-scheduler"])
    assert kubectl.names("services") == ["c-scheduler"]
    assert kubectl.names("daskworkergroups") == ["c-default"]
    assert kubectl.names("deployments") == []
    owner = kubectl.get("dsk", "c")["metadata"]["uid"]
    scheduler = kubectl.get("pod", "c-scheduler")
    assert [reference["uid"] for reference in scheduler["metadata"]["ownerReferences"]] == [owner]
    labels = scheduler["metadata"]["labels"]
    assert labels["team"] == "a" and labels["dask.org/component"] == "scheduler"
    assert scheduler["metadata"]["annotations"]["note"] == "b"
    assert not any(name.startswith("kubectl.") for name in scheduler["metadata"]["annotations"])
    worker = kubectl.get("pod", pods[0])
    environment = {variable["name"]: variable["value"] for variable in worker["spec"]["containers"][0]["env"]}
    assert environment == {
        "DASK_WORKER_NAME": pods[0],
        "DASK_SCHEDULER_ADDRESS": f"tcp://c-scheduler.{kubectl.namespace}.svc:8786",
    }
    assert worker["metadata"]["ownerReferences"][0]["uid"] == kubectl.get("daskworkergroup", "c-default")["metadata"]["uid"]


def test_the_status_reflects_the_pods(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    pods = workers(kubectl, "c-default", 2)
    for name in ["c-scheduler", *pods]:
        set_pod_status(kubectl, name, "Running")
    kubectl("wait", "dsk/c", "--for=condition=SchedulerReady", "--timeout=120s")
    kubectl("wait", "dsk/c", "--for=condition=WorkersReady", "--timeout=120s")
    status = kubectl.get("dsk", "c")["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    assert sorted(kubectl.names("pods", status["selector"])) == pods


def test_a_cluster_is_pending_until_its_load_balancer_has_an_address(kubectl, operator):
    kubectl.apply(changed(cluster("c"), "spec.scheduler.service.type", "LoadBalancer"))
    await_phase(kubectl, "c", "Pending")
    kubectl.patch("service", "c-scheduler", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
                  subresource="status")
    await_phase(kubectl, "c", "Running")


def test_a_group_that_a_user_created_is_owned_by_its_cluster(kubectl, operator):
    kubectl.apply(group("early", "c", 2))
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "early", 2)
    workers(kubectl, "c-default", 1)
    owner = kubectl.get("dsk", "c")["metadata"]["uid"]

    def made():
        return kubectl.get("daskworkergroup", "early")["metadata"]
    until(lambda: [reference["uid"] for reference in made()["ownerReferences"]] == [owner], "the cluster to own the group")
    assert "labels" not in made()
    kubectl("delete", "dsk", "c")
    until(lambda: not kubectl.names("daskworkergroups,pods,services"), "all children to be deleted", COLLECTED)


def test_deletion_of_a_cluster_deletes_all_children(kubectl, operator):
    kubectl.apply(cluster("c", 3), group("more", "c", 2))
    workers(kubectl, "c-default", 3)
    workers(kubectl, "more", 2)
    assert "finalizers" not in kubectl.get("dsk", "c")["metadata"]
    kubectl("delete", "dsk", "c", timeout=30)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,pods,services"),
          "the cluster and all children to be deleted", COLLECTED)
    stays(lambda: not kubectl.names("pods,services,daskworkergroups"), "the absence of children")


def test_a_recreated_cluster_adopts_no_old_children(kubectl, operator):
    """All children of the previous cluster are deleted with it, including a group that a user created."""
    def uids():
        return {item["metadata"]["uid"] for item in kubectl.list("daskclusters,daskworkergroups,pods,services")}

    kubectl.apply(cluster("c", 3), group("more", "c", 2))
    workers(kubectl, "c-default", 3)
    workers(kubectl, "more", 2)
    until(lambda: kubectl.get("daskworkergroup", "more")["metadata"].get("ownerReferences"), "the cluster to own the group")
    before = uids()
    kubectl("delete", "dsk", "c", timeout=30)
    kubectl.apply(cluster("c", 1))
    until(lambda: not before & uids(), "all objects of the previous cluster to be deleted", COLLECTED)
    workers(kubectl, "c-default", 1)
    assert kubectl.names("daskworkergroups") == ["c-default"]


def test_a_terminating_namespace_causes_neither_warnings_nor_retries(admin, kubectl, operator):
    """A finalizer blocks a pod. The namespace keeps terminating, and no Dask resource is deleted before its pods."""
    # The metric also counts refused requests in namespaces of other tests.
    until(lambda: not [item for item in admin.list("namespaces") if "deletionTimestamp" in item["metadata"]],
          "no namespace to be terminating", COLLECTED)
    kubectl.apply(cluster("c", 5))
    workers(kubectl, "c-default", 5)
    operator.wait_until_quiet()
    kubectl.patch("pod", "c-scheduler", {"metadata": {"finalizers": ["example.com/hold"]}})

    def refused():
        return operator.metric("dask_operator_api_requests_total", code="403")

    log_start, before = len(operator.logs()), refused()
    try:
        kubectl("delete", "namespace", kubectl.namespace, "--wait=false")
        until(lambda: kubectl.names("pods") == ["c-scheduler"], "the workers to be deleted")
        stays(lambda: kubectl.get("dsk", "c"), "the cluster", seconds=8)
        lines = [line for line in operator.logs()[log_start:].splitlines() if kubectl.namespace in line]
        assert not any("WARN" in line for line in lines), lines
        assert sum("the namespace is being deleted" in line for line in lines) == 1, lines
        assert refused() - before <= 5, "more than one request per worker was refused"
    finally:
        kubectl.patch("pod", "c-scheduler", {"metadata": {"finalizers": None}})


# Scaling -------------------------------------------------------------------


@pytest.mark.parametrize("target, resulting", [("dsk/c", 5), ("daskworkergroup/c-default", 5)])
def test_a_scale_up_keeps_existing_workers(kubectl, operator, target, resulting):
    kubectl.apply(cluster("c", 2))
    before = set(workers(kubectl, "c-default", 2))
    kubectl("scale", target, f"--replicas={resulting}")
    assert before < set(workers(kubectl, "c-default", resulting))


def test_a_scale_of_the_group_persists_until_the_cluster_is_scaled(kubectl, operator):
    """The replica count of the group persists until the replica count of the cluster changes."""
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    kubectl("scale", "daskworkergroup/c-default", "--replicas=3")
    workers(kubectl, "c-default", 3)
    kubectl.patch("dsk", "c", {"metadata": {"labels": {"touched": "yes"}}})
    stays(lambda: kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 3, "3 replicas")
    kubectl("scale", "dsk/c", "--replicas=4")
    workers(kubectl, "c-default", 4)


def test_changed_labels_are_applied_to_existing_pods(kubectl, operator):
    """An upgrade of a chart changes the labels of all its objects. It must not replace a pod."""
    kubectl.apply(cluster("c", 2, labels={"team": "a", "helm.sh/chart": "x-1"}))
    pods = ["c-scheduler", *workers(kubectl, "c-default", 2)]
    until(lambda: kubectl.get("pod", "c-scheduler"), "the scheduler")
    before = {name: uid(kubectl, name) for name in pods}
    kubectl.patch("dsk", "c", {"metadata": {"labels": {"team": "b", "helm.sh/chart": "x-2"}}})

    def labels():
        return [item["metadata"]["labels"] for item in kubectl.list("pods")]

    until(lambda: [has["team"] for has in labels()] == ["b"] * 3, "the new label on all pods")
    assert {name: uid(kubectl, name) for name in kubectl.names("pods")} == before
    assert not any("helm.sh/chart" in has for has in labels())
    operator.wait_until_quiet()


def test_an_apply_set_does_not_prune_children(kubectl, operator):
    applies = Kubectl({**kubectl.environment, "KUBECTL_APPLYSET": "true"}, kubectl.namespace)
    options = ("--prune", "--applyset=secret/set")
    applies.apply(cluster("c", 2), options=options)
    pods = workers(kubectl, "c-default", 2)
    before = {name: uid(kubectl, name) for name in pods}
    generation = kubectl.get("dsk", "c")["metadata"]["generation"]
    output = applies.apply(cluster("c", 2), options=options)
    assert "pruned" not in output, output
    assert kubectl.get("dsk", "c")["metadata"]["generation"] == generation
    stays(lambda: {name: uid(kubectl, name) for name in workers(kubectl, "c-default", 2)} == before, "all workers")


def test_only_the_oldest_of_two_autoscalers_scales(kubectl, operator):
    """Without a scheduler, an autoscaler only keeps the group within its limits. Here the limits of the two do not overlap."""
    kubectl.apply(cluster("c", 1), autoscaler("a", "c", 2, 4))
    workers(kubectl, "c-default", 2)
    kubectl.apply(autoscaler("b", "c", 5, 8))

    def is_inactive():
        active = condition(kubectl.get("daskautoscaler", "b"), "ScalingActive") or {}
        return active.get("reason") == "AnotherAutoscaler" and "DaskAutoscaler a " in active["message"]

    until(is_inactive, "the newer autoscaler to name the other in its condition")
    stays(lambda: kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 2, "2 replicas")
    kubectl("delete", "daskautoscaler", "a")
    workers(kubectl, "c-default", 5)


def test_a_scale_down_removes_only_workers_that_never_started(kubectl, operator):
    kubectl.apply(cluster("c", 4))
    pods = workers(kubectl, "c-default", 4)
    for name in pods[:2]:
        set_pod_status(kubectl, name, "Running", containerStatuses=[{
            "name": "worker", "ready": True, "started": True, "restartCount": 0, "image": "i", "imageID": "i",
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}])
    until(lambda: kubectl.get("daskworkergroup", "c-default")["status"]["readyReplicas"] == 2, "two ready workers")
    kubectl("scale", "dsk/c", "--replicas=1")
    assert workers(kubectl, "c-default", 2) == pods[:2]

    def is_blocked():
        found = condition(kubectl.get("daskworkergroup", "c-default"), "ScaleDownBlocked")
        return found and found["status"] == "True" and found["reason"] in {"SchedulerNotAsked", "SchedulerUnreachable"}
    until(is_blocked, "the condition ScaleDownBlocked")
    stays(lambda: kubectl.names("pods", WORKERS) == pods[:2], "two workers")


# Loss ----------------------------------------------------------------------


def test_lost_pods_are_replaced(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    pods = workers(kubectl, "c-default", 2)
    evicted = uid(kubectl, pods[0])
    scheduler = uid(kubectl, "c-scheduler")
    set_pod_status(kubectl, pods[0], "Failed", reason="Evicted", message="low on memory")
    until(lambda: uid(kubectl, pods[0]) != evicted, "the evicted worker to be deleted")
    workers(kubectl, "c-default", 2)
    assert "Failed" not in {pod["status"]["phase"] for pod in kubectl.list("pods", WORKERS)}
    kubectl("delete", "pod", "c-scheduler", "--force", "--grace-period=0")
    until(lambda: uid(kubectl, "c-scheduler") not in (None, scheduler), "another scheduler")
    workers(kubectl, "c-default", 2)


def test_deleted_children_are_recreated(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    kubectl("delete", "service", "c-scheduler")
    until(lambda: kubectl.get("service", "c-scheduler"), "the Service")
    kubectl("delete", "daskworkergroup", "c-default")
    workers(kubectl, "c-default", 1)


# Errors --------------------------------------------------------------------


def test_a_spec_that_the_api_server_refuses_is_reported(kubectl, operator):
    invalid = changed(cluster("wrong"), "spec.scheduler.spec.restartPolicy", "Sometimes")
    kubectl.apply(invalid, cluster("right"))
    await_phase(kubectl, "wrong", "Error")
    await_phase(kubectl, "right", "Running")
    conditions = kubectl.get("dsk", "wrong")["status"]["conditions"]
    reported = [condition for condition in conditions if "restartPolicy" in condition["message"]]
    assert reported, conditions
    kubectl.event("wrong", words="restartPolicy")
    kubectl.patch("dsk", "wrong", {"spec": {"scheduler": {"spec": {"restartPolicy": "Always"}}}})
    await_phase(kubectl, "wrong", "Running")


def test_a_cluster_waits_for_a_node_port_that_is_in_use(kubectl, operator):
    """The waiting cluster recovers without a change to it, once the port is free."""
    kubectl.apply(changed(cluster("first", 0), "spec.scheduler.service.type", "NodePort"))
    until(lambda: kubectl.get("service", "first-scheduler"), "the first Service")
    number = kubectl.get("service", "first-scheduler")["spec"]["ports"][0]["nodePort"]
    second = changed(cluster("second", 0), "spec.scheduler.service.type", "NodePort")
    kubectl.apply(changed(second, "spec.scheduler.service.ports.0.nodePort", number))

    def is_reported():
        reported = condition(kubectl.get("dsk", "second"), "ApplyFailed")
        return "nodePort" in reported["message"] and "already allocated" in reported["message"]
    until(is_reported, "a condition that reports the port that is in use")
    assert kubectl.get("pod", "second-scheduler") and kubectl.get("dsk", "second")["status"]["phase"] != "Error"
    kubectl("delete", "dsk", "first")
    until(lambda: not kubectl.get("service", "first-scheduler"), "the first Service to be deleted", COLLECTED)
    until(lambda: kubectl.get("service", "second-scheduler")["spec"]["ports"][0]["nodePort"] == number, "the second Service", 60)
    until(lambda: condition(kubectl.get("dsk", "second"), "ApplyFailed") is None, "the condition to be removed")


def test_pods_can_be_managed_by_a_queue(kubectl, operator):
    """The steps of Kueue: it selects pods by labels, removes their scheduling gates, and adds finalizers."""
    queue = {"kueue.x-k8s.io/queue-name": "batch", "kueue.x-k8s.io/pod-group-name": "queued"}
    total = {"kueue.x-k8s.io/pod-group-total-count": "3"}
    gates = [{"name": "example.com/wait-for-dataset"}]
    kubectl.apply(changed(cluster("queued", 2, labels=queue, annotations=total), "spec.worker.spec.schedulingGates", gates))
    pods = workers(kubectl, "queued-default", 2)
    for name in [*pods, "queued-scheduler"]:
        metadata = kubectl.get("pod", name)["metadata"]
        assert queue.items() <= metadata["labels"].items() and total.items() <= metadata["annotations"].items()

    def is_reported():
        reported = condition(kubectl.get("daskworkergroup", "queued-default"), "WorkersReady")
        return reported["reason"] == "SchedulingGated" and "example.com/wait-for-dataset" in reported["message"]
    until(is_reported, "a condition that names the gate")

    # A pod whose gate was removed still matches the template.
    for name in pods:
        kubectl.patch("pod", name, [{"op": "remove", "path": "/spec/schedulingGates"}], type="json")
    stays(lambda: kubectl.names("pods", WORKERS) == pods, "both workers")

    # A worker that is being deleted and waits for a finalizer does not count.
    for name in pods:
        kubectl.patch("pod", name, {"metadata": {"finalizers": ["kueue.x-k8s.io/managed"]}})
    try:
        kubectl("scale", "daskworkergroup", "queued-default", "--replicas=1")

        def leaving():
            return [pod for pod in kubectl.list("pods", WORKERS) if pod["metadata"].get("deletionTimestamp")]
        until(lambda: len(leaving()) == 1, "one worker to leave")
        stays(lambda: kubectl.names("pods", WORKERS) == pods, "the set of worker pods")
        kubectl("delete", "dsk", "queued", timeout=30)
        until(lambda: len(leaving()) == 2, "both workers to leave", COLLECTED)
    finally:
        for name in kubectl.names("pods", WORKERS):
            kubectl.patch("pod", name, {"metadata": {"finalizers": None}})
    until(lambda: not kubectl.names("daskworkergroups,pods,services"), "all children to be deleted", COLLECTED)


def test_a_group_reports_a_missing_cluster_and_starts_once_it_exists(kubectl, operator):
    kubectl.apply(group("lonely", "nowhere", 1))

    def is_reported():
        status = (kubectl.get("daskworkergroup", "lonely") or {}).get("status", {})
        return any(condition["reason"] == "ClusterNotFound" for condition in status.get("conditions", []))
    until(is_reported, "a condition that reports the missing cluster")
    assert kubectl.names("pods") == []
    kubectl.apply(cluster("nowhere"))
    workers(kubectl, "lonely", 1)


def test_a_malformed_object_does_not_block_others(admin, kubectl, operator):
    """An object that is older than the schema: its spec has a structure that no program expects."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    name = "daskclusters.kubernetes.dask.org"
    good = admin.get("crd", name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    open_schema = {"x-kubernetes-preserve-unknown-fields": True}
    admin.patch("crd", name, [{"op": "replace", "path": path, "value": open_schema}], type="json")
    try:
        malformed = changed(cluster("malformed"), "spec", {"worker": {"replicas": 1, "spec": "many"}, "scheduler": [1]})

        def applied():
            try:
                return kubectl.apply(malformed, options=["--validate=false"])
            except Refused as error:
                raise AssertionError(error) from error
        until(applied, "a schema that accepts everything")
        kubectl.apply(cluster("good", 2))
        workers(kubectl, "good-default", 2)
        await_phase(kubectl, "malformed", "Error")
        kubectl("delete", "dsk", "malformed")
    finally:
        admin.patch("crd", name, [{"op": "replace", "path": path, "value": good}], type="json")


def test_a_copy_of_the_default_group_is_not_deleted(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    copy = kubectl.get("daskworkergroup", "c-default")
    kubectl.apply({**copy, "metadata": {"name": "copy", "labels": copy["metadata"]["labels"]}})
    pods = workers(kubectl, "copy", 1)
    until(lambda: kubectl.get("daskworkergroup", "copy")["metadata"].get("ownerReferences"), "the cluster to own the copy")
    kubectl("scale", "dsk/c", "--replicas=2")
    workers(kubectl, "c-default", 2)
    stays(lambda: workers(kubectl, "copy", 1) == pods, "the copy and its worker")


#: Labels of a worker of the cluster called `c`.
WORKER_LABELS = {"dask.org/cluster-name": "c", "dask.org/component": "worker"}


def bodies():
    """Yields objects of a user without metadata: title, apiVersion, kind and the remaining fields. One group belongs to another
    cluster. The other group belongs to `c`, which therefore may own it."""
    containers = {"containers": [{"name": "worker", "image": "i:1"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": containers}
    yield "pod", "v1", "Pod", {"spec": containers}
    yield "service", "v1", "Service", {"spec": {"ports": [{"port": 1}]}}
    yield "deployment", "apps/v1", "Deployment", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 0, "template": template}}
    yield "group", API, "DaskWorkerGroup", {"spec": group("g", "elsewhere", 1)["spec"]}
    yield "own-group", API, "DaskWorkerGroup", {"spec": group("g", "c", 0)["spec"]}


def decoys(kubectl):
    """Yields objects of a user that look like children of the cluster `c` and its group, each with its field manager."""
    def owner(kind, name, controller):
        uid = kubectl.get(kind, name)["metadata"]["uid"]
        return [{"apiVersion": API, "kind": kind, "name": name, "uid": uid, "controller": controller}]

    for title, version, kind, body in bodies():
        for parent in (("DaskCluster", "c"), ("DaskWorkerGroup", "c-default")):
            for form, metadata in {
                "label": {"labels": WORKER_LABELS},
                "owner": {"ownerReferences": owner(*parent, False)},
                "controller": {"ownerReferences": owner(*parent, True)},
                "both": {"labels": WORKER_LABELS, "ownerReferences": owner(*parent, True)},
            }.items():
                name = f"{title}-{parent[0].lower()}-{form}"
                manager = "kopf" if form == "both" else "kubectl"
                yield {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, **body}, manager


def namesakes():
    """Yields objects of a user with the names of children of `c`, for a namespace that has no such cluster, each with its field
    manager."""
    names = {"pod": "c-scheduler", "service": "c-scheduler", "deployment": "c-scheduler", "group": "c-default", "own-group": "c-more"}
    for title, version, kind, body in bodies():
        yield {"apiVersion": version, "kind": kind, "metadata": {"name": names[title], "labels": WORKER_LABELS}, **body}, "kopf"


def test_objects_that_look_like_children_are_not_changed(admin, namespaces, kubectl, operator):
    """The operator never changes objects that users created, whatever their labels, owner references and namespace."""
    kubectl.apply(cluster("c", 2))
    workers(kubectl, "c-default", 2)
    other = kubectl_module.new_namespace(admin.environment, "decoys")
    namespaces.append(other.namespace)
    made = [(kubectl, *decoy) for decoy in decoys(kubectl)] + [(other, *decoy) for decoy in namesakes()]
    for client, manager in ((kubectl, "kubectl"), (kubectl, "kopf"), (other, "kopf")):
        texts = [json.dumps(manifest) for owner, manifest, by in made if (owner, by) == (client, manager)]
        client("create", f"--field-manager={manager}", "--filename", "-", stdin="\n---\n".join(texts))

    def seen():
        found = [client.get(manifest["kind"], manifest["metadata"]["name"]) for client, manifest, _ in made]
        # Statuses are left out because the controllers of Kubernetes write them. The owner of a group of `c` is left out because
        # the cluster may become the owner.
        return [object and (object["metadata"]["uid"], object["metadata"].get("labels"), object["spec"],
                            object["spec"].get("cluster") == "c" or object["metadata"].get("ownerReferences")) for object in found]
    before = seen()
    assert all(before)
    kubectl("scale", "dsk/c", "--replicas=3")
    workers(kubectl, "c-default", 3)
    kubectl("scale", "dsk/c", "--replicas=1")
    workers(kubectl, "c-default", 1)
    stays(lambda: seen() == before, "the objects of users")
    kubectl_module.drop_namespace(other)


@pytest.mark.parametrize("existing", [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c-scheduler"}, "spec": {"ports": [{"port": 1}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c-scheduler"}, "spec": pod("s", "sleep")},
])
def test_a_name_conflict_is_reported_and_resolved_by_deletion(kubectl, operator, existing):
    """The object does not change. The cluster reports the conflict, and makes its own child once the object is deleted."""
    def seen():
        found = kubectl.get(existing["kind"], "c-scheduler")
        return found["spec"], {name: found["metadata"].get(name) for name in ("uid", "labels", "annotations", "ownerReferences")}

    kubectl.apply(existing)
    before = seen()
    kubectl.apply(cluster("c", 1))
    message = "it exists, and this operator has not made it: delete or rename it"
    until(lambda: message in (condition(kubectl.get("dsk", "c"), "ApplyFailed") or {}).get("message", ""), "the condition")
    assert seen() == before
    kubectl("delete", existing["kind"], "c-scheduler", "--force", "--grace-period=0")
    until(lambda: "ownerReferences" in (kubectl.get(existing["kind"], "c-scheduler") or {}).get("metadata", {}),
          "the child of the cluster", 360)


def test_a_job_does_not_adopt_a_cluster_of_a_user(kubectl, operator):
    """A DaskJob creates a DaskCluster of its own name, and deletes that cluster when the job ends."""
    kubectl.apply(cluster("j", 1))
    before = kubectl.get("dsk", "j")["metadata"]["uid"]
    kubectl.apply(job("j", replicas=2))
    message = "it exists, and this operator has not made it"
    until(lambda: message in (condition(kubectl.get("djb", "j"), "ApplyFailed") or {}).get("message", ""), "the condition")
    kubectl("delete", "djb", "j")
    stays(lambda: kubectl.get("dsk", "j")["metadata"]["uid"] == before, "the user's cluster")


# Migration from the predecessor ---------------------------------------------


def test_marks_of_kopf_are_removed(kubectl, operator):
    annotations = {"kopf.zalando.org/last-handled-configuration": "{}", "mine": "stays"}
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER, "example.com/mine"], annotations=annotations))

    def is_clean():
        metadata = kubectl.get("dsk", "c")["metadata"]
        return metadata["finalizers"] == ["example.com/mine"] and not any(
            name.startswith("kopf") for name in metadata["annotations"])
    until(is_clean, "kopf's marks to be removed")
    assert kubectl.get("dsk", "c")["metadata"]["annotations"]["mine"] == "stays"


# Jobs ----------------------------------------------------------------------


@pytest.mark.parametrize("end, status", [("Succeeded", "Successful"), ("Failed", "Failed")])
def test_a_job_goes_through_its_phases(kubectl, operator, end, status):
    def job_status():
        return (kubectl.get("djb", "j") or {}).get("status", {})

    kubectl.apply(job("j", replicas=2))
    workers(kubectl, "j-default", 2)
    until(lambda: job_status().get("jobStatus") == "ClusterCreated", "ClusterCreated")
    runner = kubectl.get("pod", "j-runner")
    assert runner["metadata"]["labels"]["dask.org/component"] == "job-runner"
    set_pod_status(kubectl, "j-runner", "Running")
    until(lambda: job_status().get("jobStatus") == "Running", "Running")
    assert "endTime" not in job_status()
    set_pod_status(kubectl, "j-runner", end)
    until(lambda: job_status().get("jobStatus") == status, status)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,services"), "the job's cluster to be deleted")
    until(lambda: kubectl.names("pods") == ["j-runner"], "only the runner to remain")
    assert sorted(job_status()) == ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]
    stays(lambda: job_status()["jobStatus"] == status, status)
    kubectl("delete", "djb", "j")
    until(lambda: not kubectl.names("pods"), "the runner to be deleted")


def test_pod_specs_reach_pods_as_written(kubectl, operator):
    spec = pod("worker", "dask-worker")
    spec["containers"][0]["env"] = [{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://elsewhere:1"}]
    spec["initContainers"] = [{"name": "before", "image": "i", "restartPolicy": "Always"}]
    spec["tolerations"] = [{"operator": "Exists"}]
    kubectl.apply(changed(cluster("c"), "spec.worker.spec", spec))
    name = workers(kubectl, "c-default", 1)[0]
    made = kubectl.get("pod", name)["spec"]
    environment = made["containers"][0]["env"]
    assert environment[0] == {"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://elsewhere:1"}
    assert [variable["name"] for variable in environment] == ["DASK_SCHEDULER_ADDRESS", "DASK_WORKER_NAME"]
    assert made["initContainers"][0]["restartPolicy"] == "Always"
    assert "env" not in made["initContainers"][0]
