"""The operator on a real API server. Pods stay pending: there is no node. Tests mark them running where it matters."""

import json

import pytest
from support import kubectl as kubectl_module
from support.dask import WORKERS, workers
from support.kubectl import Kubectl, Refused
from support.manifests import API, autoscaler, changed, cluster, group, job, pod
from support.waiting import COLLECTED, GENEROUS, stays, until

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


def set_pod(kubectl, name, phase, **more):
    """Say of a pod what a kubelet would."""
    is_ready = "True" if phase == "Running" else "False"
    conditions = [{"type": kind, "status": is_ready} for kind in ("Ready", "ContainersReady")]
    kubectl.patch("pod", name, {"status": {"phase": phase, "conditions": conditions, **more}}, subresource="status")


def uid(kubectl, name):
    """The uid of a pod, or None."""
    return (kubectl.get("pod", name) or {}).get("metadata", {}).get("uid")


def condition(object, type):
    """A condition's status, reason and message, or None."""
    for condition in (object or {}).get("status", {}).get("conditions", []):
        if condition["type"] == type:
            return condition
    return None


def phase_is(kubectl, name, phase, timeout=GENEROUS):
    until(lambda: (kubectl.get("dsk", name) or {}).get("status", {}).get("phase") == phase,
          f"phase {phase} of {name}", timeout)


# Children ------------------------------------------------------------------


def test_children_of_a_cluster(kubectl, operator):
    kubectl.apply(cluster("c", 3, labels={"team": "a"}, annotations={"note": "b"}))
    pods = workers(kubectl, "c-default", 3)
    phase_is(kubectl, "c", "Running")
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


def test_status_follows_pods(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    pods = workers(kubectl, "c-default", 2)
    for name in ["c-scheduler", *pods]:
        set_pod(kubectl, name, "Running")
    kubectl("wait", "dsk/c", "--for=condition=SchedulerReady", "--timeout=120s")
    kubectl("wait", "dsk/c", "--for=condition=WorkersReady", "--timeout=120s")
    status = kubectl.get("dsk", "c")["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    assert sorted(kubectl.names("pods", status["selector"])) == pods


def test_load_balancer_is_pending_until_it_has_an_address(kubectl, operator):
    kubectl.apply(changed(cluster("c"), "spec.scheduler.service.type", "LoadBalancer"))
    phase_is(kubectl, "c", "Pending")
    kubectl.patch("service", "c-scheduler", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
                  subresource="status")
    phase_is(kubectl, "c", "Running")


def test_a_group_that_a_user_made(kubectl, operator):
    kubectl.apply(group("early", "c", 2))
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "early", 2)
    workers(kubectl, "c-default", 1)
    owner = kubectl.get("dsk", "c")["metadata"]["uid"]

    def made():
        return kubectl.get("daskworkergroup", "early")["metadata"]
    until(lambda: [reference["uid"] for reference in made()["ownerReferences"]] == [owner], "the group to be the cluster's")
    assert "labels" not in made()
    kubectl("delete", "dsk", "c")
    until(lambda: not kubectl.names("daskworkergroups,pods,services"), "everything to be gone", COLLECTED)


def test_deleting_a_cluster_leaves_nothing(kubectl, operator):
    kubectl.apply(cluster("c", 3), group("more", "c", 2))
    workers(kubectl, "c-default", 3)
    workers(kubectl, "more", 2)
    assert "finalizers" not in kubectl.get("dsk", "c")["metadata"]
    kubectl("delete", "dsk", "c", timeout=30)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,pods,services"), "everything to be gone", COLLECTED)
    stays(lambda: not kubectl.names("pods,services,daskworkergroups"), "nothing")


def test_a_cluster_that_is_made_anew_takes_nothing_over(kubectl, operator):
    """What belonged to the cluster before goes with it, also a group that a user made."""
    def uids():
        return {item["metadata"]["uid"] for item in kubectl.list("daskclusters,daskworkergroups,pods,services")}

    kubectl.apply(cluster("c", 3), group("more", "c", 2))
    workers(kubectl, "c-default", 3)
    workers(kubectl, "more", 2)
    until(lambda: kubectl.get("daskworkergroup", "more")["metadata"].get("ownerReferences"), "the group to be the cluster's")
    before = uids()
    kubectl("delete", "dsk", "c", timeout=30)
    kubectl.apply(cluster("c", 1))
    until(lambda: not before & uids(), "what was there before to be gone", COLLECTED)
    workers(kubectl, "c-default", 1)
    assert kubectl.names("daskworkergroups") == ["c-default"]


def test_a_namespace_that_ends_is_left_alone(admin, kubectl, operator):
    """Something holds a pod; the namespace goes on ending, and the Dask resources are not deleted before their pods."""
    # What is refused in other tests' namespaces would be counted, too.
    until(lambda: not [item for item in admin.list("namespaces") if "deletionTimestamp" in item["metadata"]],
          "no namespace to be ending", COLLECTED)
    kubectl.apply(cluster("c", 5))
    workers(kubectl, "c-default", 5)
    operator.wait_until_quiet()
    kubectl.patch("pod", "c-scheduler", {"metadata": {"finalizers": ["example.com/hold"]}})

    def refused():
        return operator.metric("dask_operator_api_requests_total", code="403")

    said, before = len(operator.logs()), refused()
    try:
        kubectl("delete", "namespace", kubectl.namespace, "--wait=false")
        until(lambda: kubectl.names("pods") == ["c-scheduler"], "the workers to be gone")
        stays(lambda: kubectl.get("dsk", "c"), "the cluster", seconds=8)
        lines = [line for line in operator.logs()[said:].splitlines() if kubectl.namespace in line]
        assert not any("WARN" in line for line in lines), lines
        assert sum("the namespace is being deleted" in line for line in lines) == 1, lines
        assert refused() - before <= 5, "one try for each worker"
    finally:
        kubectl.patch("pod", "c-scheduler", {"metadata": {"finalizers": None}})


# Scaling -------------------------------------------------------------------


@pytest.mark.parametrize("target, resulting", [("dsk/c", 5), ("daskworkergroup/c-default", 5)])
def test_scale_up(kubectl, operator, target, resulting):
    kubectl.apply(cluster("c", 2))
    before = set(workers(kubectl, "c-default", 2))
    kubectl("scale", target, f"--replicas={resulting}")
    assert before < set(workers(kubectl, "c-default", resulting))


def test_scale_of_the_group_stays(kubectl, operator):
    """What was said of the group holds until something else is said of the cluster."""
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    kubectl("scale", "daskworkergroup/c-default", "--replicas=3")
    workers(kubectl, "c-default", 3)
    kubectl.patch("dsk", "c", {"metadata": {"labels": {"touched": "yes"}}})
    stays(lambda: kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 3, "3 replicas")
    kubectl("scale", "dsk/c", "--replicas=4")
    workers(kubectl, "c-default", 4)


def test_other_labels_are_put_on_the_pods_that_exist(kubectl, operator):
    """A release of a chart changes the labels of all its objects, and replaces no pod."""
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


def test_an_apply_set_prunes_no_children(kubectl, operator):
    applies = Kubectl({**kubectl.environment, "KUBECTL_APPLYSET": "true"}, kubectl.namespace)
    options = ("--prune", "--applyset=secret/set")
    applies.apply(cluster("c", 2), options=options)
    pods = workers(kubectl, "c-default", 2)
    before = {name: uid(kubectl, name) for name in pods}
    generation = kubectl.get("dsk", "c")["metadata"]["generation"]
    said = applies.apply(cluster("c", 2), options=options)
    assert "pruned" not in said, said
    assert kubectl.get("dsk", "c")["metadata"]["generation"] == generation
    stays(lambda: {name: uid(kubectl, name) for name in workers(kubectl, "c-default", 2)} == before, "all workers")


def test_of_two_autoscalers_the_oldest_scales(kubectl, operator):
    """Without a scheduler they keep the group within their limits, which exclude each other here."""
    kubectl.apply(cluster("c", 1), autoscaler("a", "c", 2, 4))
    workers(kubectl, "c-default", 2)
    kubectl.apply(autoscaler("b", "c", 5, 8))

    def says():
        active = condition(kubectl.get("daskautoscaler", "b"), "ScalingActive") or {}
        return active.get("reason") == "AnotherAutoscaler" and "DaskAutoscaler a " in active["message"]

    until(says, "the younger one to name the other")
    stays(lambda: kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 2, "2 replicas")
    kubectl("delete", "daskautoscaler", "a")
    workers(kubectl, "c-default", 5)


def test_scale_down_takes_workers_that_never_started(kubectl, operator):
    kubectl.apply(cluster("c", 4))
    pods = workers(kubectl, "c-default", 4)
    for name in pods[:2]:
        set_pod(kubectl, name, "Running", containerStatuses=[{
            "name": "worker", "ready": True, "started": True, "restartCount": 0, "image": "i", "imageID": "i",
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}])
    until(lambda: kubectl.get("daskworkergroup", "c-default")["status"]["readyReplicas"] == 2, "two ready workers")
    kubectl("scale", "dsk/c", "--replicas=1")
    assert workers(kubectl, "c-default", 2) == pods[:2]

    def blocked():
        found = condition(kubectl.get("daskworkergroup", "c-default"), "ScaleDownBlocked")
        return found and found["status"] == "True" and found["reason"] in {"SchedulerNotAsked", "SchedulerUnreachable"}
    until(blocked, "a condition that says what is held back")
    stays(lambda: kubectl.names("pods", WORKERS) == pods[:2], "two workers")


# Loss ----------------------------------------------------------------------


def test_lost_pods_are_replaced(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    pods = workers(kubectl, "c-default", 2)
    evicted = uid(kubectl, pods[0])
    scheduler = uid(kubectl, "c-scheduler")
    set_pod(kubectl, pods[0], "Failed", reason="Evicted", message="low on memory")
    until(lambda: uid(kubectl, pods[0]) != evicted, "the evicted worker to be gone")
    workers(kubectl, "c-default", 2)
    assert "Failed" not in {pod["status"]["phase"] for pod in kubectl.list("pods", WORKERS)}
    kubectl("delete", "pod", "c-scheduler", "--force", "--grace-period=0")
    until(lambda: uid(kubectl, "c-scheduler") not in (None, scheduler), "another scheduler")
    workers(kubectl, "c-default", 2)


def test_deleted_children_come_back(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    kubectl("delete", "service", "c-scheduler")
    until(lambda: kubectl.get("service", "c-scheduler"), "the Service")
    kubectl("delete", "daskworkergroup", "c-default")
    workers(kubectl, "c-default", 1)


# Errors --------------------------------------------------------------------


def test_a_spec_that_the_api_server_refuses(kubectl, operator):
    wrong = changed(cluster("wrong"), "spec.scheduler.spec.restartPolicy", "Sometimes")
    kubectl.apply(wrong, cluster("right"))
    phase_is(kubectl, "wrong", "Error")
    phase_is(kubectl, "right", "Running")
    conditions = kubectl.get("dsk", "wrong")["status"]["conditions"]
    told = [condition for condition in conditions if "restartPolicy" in condition["message"]]
    assert told, conditions
    kubectl.event("wrong", words="restartPolicy")
    kubectl.patch("dsk", "wrong", {"spec": {"scheduler": {"spec": {"restartPolicy": "Always"}}}})
    phase_is(kubectl, "wrong", "Running")


def test_a_node_port_that_another_cluster_has_is_waited_for(kubectl, operator):
    """It passes by itself, without anybody touching the cluster that waits."""
    kubectl.apply(changed(cluster("first", 0), "spec.scheduler.service.type", "NodePort"))
    until(lambda: kubectl.get("service", "first-scheduler"), "the first Service")
    number = kubectl.get("service", "first-scheduler")["spec"]["ports"][0]["nodePort"]
    second = changed(cluster("second", 0), "spec.scheduler.service.type", "NodePort")
    kubectl.apply(changed(second, "spec.scheduler.service.ports.0.nodePort", number))

    def is_said():
        told = condition(kubectl.get("dsk", "second"), "ApplyFailed")
        return "nodePort" in told["message"] and "already allocated" in told["message"]
    until(is_said, "a condition that says what is taken")
    assert kubectl.get("pod", "second-scheduler") and kubectl.get("dsk", "second")["status"]["phase"] != "Error"
    kubectl("delete", "dsk", "first")
    until(lambda: not kubectl.get("service", "first-scheduler"), "the first Service to be gone", COLLECTED)
    until(lambda: kubectl.get("service", "second-scheduler")["spec"]["ports"][0]["nodePort"] == number, "the second Service", 60)
    until(lambda: condition(kubectl.get("dsk", "second"), "ApplyFailed") is None, "the condition to be gone")


def test_a_queue_that_holds_pods_back(kubectl, operator):
    """What Kueue does: labels that it finds pods by, gates that it takes off, finalizers that it puts on."""
    queue = {"kueue.x-k8s.io/queue-name": "batch", "kueue.x-k8s.io/pod-group-name": "queued"}
    total = {"kueue.x-k8s.io/pod-group-total-count": "3"}
    gates = [{"name": "example.com/wait-for-dataset"}]
    kubectl.apply(changed(cluster("queued", 2, labels=queue, annotations=total), "spec.worker.spec.schedulingGates", gates))
    pods = workers(kubectl, "queued-default", 2)
    for name in [*pods, "queued-scheduler"]:
        metadata = kubectl.get("pod", name)["metadata"]
        assert queue.items() <= metadata["labels"].items() and total.items() <= metadata["annotations"].items()

    def is_said():
        told = condition(kubectl.get("daskworkergroup", "queued-default"), "WorkersReady")
        return told["reason"] == "SchedulingGated" and "example.com/wait-for-dataset" in told["message"]
    until(is_said, "a condition that names the gate")

    # Without its gate a pod is of the same template.
    for name in pods:
        kubectl.patch("pod", name, [{"op": "remove", "path": "/spec/schedulingGates"}], type="json")
    stays(lambda: kubectl.names("pods", WORKERS) == pods, "both workers")

    # One that waits for somebody's finalizer counts as gone.
    for name in pods:
        kubectl.patch("pod", name, {"metadata": {"finalizers": ["kueue.x-k8s.io/managed"]}})
    try:
        kubectl("scale", "daskworkergroup", "queued-default", "--replicas=1")

        def leaving():
            return [pod for pod in kubectl.list("pods", WORKERS) if pod["metadata"].get("deletionTimestamp")]
        until(lambda: len(leaving()) == 1, "one worker to leave")
        stays(lambda: kubectl.names("pods", WORKERS) == pods, "no other worker")
        kubectl("delete", "dsk", "queued", timeout=30)
        until(lambda: len(leaving()) == 2, "both workers to leave", COLLECTED)
    finally:
        for name in kubectl.names("pods", WORKERS):
            kubectl.patch("pod", name, {"metadata": {"finalizers": None}})
    until(lambda: not kubectl.names("daskworkergroups,pods,services"), "everything to be gone", COLLECTED)


def test_an_unknown_cluster_is_said_and_then_found(kubectl, operator):
    kubectl.apply(group("lonely", "nowhere", 1))

    def said():
        status = (kubectl.get("daskworkergroup", "lonely") or {}).get("status", {})
        return any(condition["reason"] == "ClusterNotFound" for condition in status.get("conditions", []))
    until(said, "a condition that says what is missing")
    assert kubectl.names("pods") == []
    kubectl.apply(cluster("nowhere"))
    workers(kubectl, "lonely", 1)


def test_a_malformed_object_stops_no_others(admin, kubectl, operator):
    """An object from before there was a schema: its spec is a shape that no program expects."""
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
        phase_is(kubectl, "malformed", "Error")
        kubectl("delete", "dsk", "malformed")
    finally:
        admin.patch("crd", name, [{"op": "replace", "path": path, "value": good}], type="json")


def test_a_copy_of_the_default_group_stays(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    workers(kubectl, "c-default", 1)
    copy = kubectl.get("daskworkergroup", "c-default")
    kubectl.apply({**copy, "metadata": {"name": "copy", "labels": copy["metadata"]["labels"]}})
    pods = workers(kubectl, "copy", 1)
    until(lambda: kubectl.get("daskworkergroup", "copy")["metadata"].get("ownerReferences"), "its cluster to own it")
    kubectl("scale", "dsk/c", "--replicas=2")
    workers(kubectl, "c-default", 2)
    stays(lambda: workers(kubectl, "copy", 1) == pods, "the copy and its worker")


#: Labels of a worker of the cluster called `c`.
LABELS = {"dask.org/cluster-name": "c", "dask.org/component": "worker"}


def bodies():
    """What stands below the metadata of objects of a user: a title, version, kind and the rest. One group is of another
    cluster, and one is of `c`, which may own it then."""
    containers = {"containers": [{"name": "worker", "image": "i:1"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": containers}
    yield "pod", "v1", "Pod", {"spec": containers}
    yield "service", "v1", "Service", {"spec": {"ports": [{"port": 1}]}}
    yield "deployment", "apps/v1", "Deployment", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 0, "template": template}}
    yield "group", API, "DaskWorkerGroup", {"spec": group("g", "elsewhere", 1)["spec"]}
    yield "own-group", API, "DaskWorkerGroup", {"spec": group("g", "c", 0)["spec"]}


def decoys(kubectl):
    """Objects of a user that look like children of the cluster and the group called `c`, and who creates them."""
    def owner(kind, name, controller):
        uid = kubectl.get(kind, name)["metadata"]["uid"]
        return [{"apiVersion": API, "kind": kind, "name": name, "uid": uid, "controller": controller}]

    for title, version, kind, body in bodies():
        for parent in (("DaskCluster", "c"), ("DaskWorkerGroup", "c-default")):
            for form, metadata in {
                "label": {"labels": LABELS},
                "owner": {"ownerReferences": owner(*parent, False)},
                "controller": {"ownerReferences": owner(*parent, True)},
                "both": {"labels": LABELS, "ownerReferences": owner(*parent, True)},
            }.items():
                name = f"{title}-{parent[0].lower()}-{form}"
                manager = "kopf" if form == "both" else "kubectl"
                yield {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, **body}, manager


def namesakes():
    """Objects of a user that are called as children of `c` are, in a namespace where there is no such cluster."""
    names = {"pod": "c-scheduler", "service": "c-scheduler", "deployment": "c-scheduler", "group": "c-default", "own-group": "c-more"}
    for title, version, kind, body in bodies():
        yield {"apiVersion": version, "kind": kind, "metadata": {"name": names[title], "labels": LABELS}, **body}, "kopf"


def test_decoys(admin, namespaces, kubectl, operator):
    """What users have made is theirs, whatever labels and owners they give it, and wherever it is."""
    kubectl.apply(cluster("c", 2))
    workers(kubectl, "c-default", 2)
    other = kubectl_module.new_namespace(admin.environment, "decoys")
    namespaces.append(other.namespace)
    made = [(kubectl, *decoy) for decoy in decoys(kubectl)] + [(other, *decoy) for decoy in namesakes()]
    for where, manager in ((kubectl, "kubectl"), (kubectl, "kopf"), (other, "kopf")):
        texts = [json.dumps(manifest) for at, manifest, by in made if (at, by) == (where, manager)]
        where("create", f"--field-manager={manager}", "--filename", "-", stdin="\n---\n".join(texts))

    def seen():
        found = [where.get(manifest["kind"], manifest["metadata"]["name"]) for where, manifest, _ in made]
        # Kubernetes' own controllers write statuses. A group of the cluster is given to it.
        return [object and (object["metadata"]["uid"], object["metadata"].get("labels"), object["spec"],
                            object["spec"].get("cluster") == "c" or object["metadata"].get("ownerReferences")) for object in found]
    before = seen()
    assert all(before)
    kubectl("scale", "dsk/c", "--replicas=3")
    workers(kubectl, "c-default", 3)
    kubectl("scale", "dsk/c", "--replicas=1")
    workers(kubectl, "c-default", 1)
    stays(lambda: seen() == before, "what users have made")
    kubectl_module.drop_namespace(other)


@pytest.mark.parametrize("taken", [
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c-scheduler"}, "spec": {"ports": [{"port": 1}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c-scheduler"}, "spec": pod("s", "sleep")},
])
def test_a_name_that_is_taken_is_said(kubectl, operator, taken):
    """The object stays as it is, the cluster says whose it is not, and goes on when it is gone."""
    def seen():
        found = kubectl.get(taken["kind"], "c-scheduler")
        return found["spec"], {name: found["metadata"].get(name) for name in ("uid", "labels", "annotations", "ownerReferences")}

    kubectl.apply(taken)
    before = seen()
    kubectl.apply(cluster("c", 1))
    said = "it exists, and this operator has not made it: delete or rename it"
    until(lambda: said in (condition(kubectl.get("dsk", "c"), "ApplyFailed") or {}).get("message", ""), "the condition")
    assert seen() == before
    kubectl("delete", taken["kind"], "c-scheduler", "--force", "--grace-period=0")
    until(lambda: "ownerReferences" in (kubectl.get(taken["kind"], "c-scheduler") or {}).get("metadata", {}), "its own", 360)


def test_a_user_s_job_cluster_is_not_taken(kubectl, operator):
    """A DaskJob makes a DaskCluster of its name, and deletes it at its end."""
    kubectl.apply(cluster("j", 1))
    before = kubectl.get("dsk", "j")["metadata"]["uid"]
    kubectl.apply(job("j", replicas=2))
    said = "it exists, and this operator has not made it"
    until(lambda: said in (condition(kubectl.get("djb", "j"), "ApplyFailed") or {}).get("message", ""), "the condition")
    kubectl("delete", "djb", "j")
    stays(lambda: kubectl.get("dsk", "j")["metadata"]["uid"] == before, "the user's cluster")


# What the predecessor left -------------------------------------------------


def test_marks_of_kopf_are_taken_off(kubectl, operator):
    annotations = {"kopf.zalando.org/last-handled-configuration": "{}", "mine": "stays"}
    kubectl.apply(cluster("c", 1, finalizers=[FINALIZER, "example.com/mine"], annotations=annotations))

    def clean():
        metadata = kubectl.get("dsk", "c")["metadata"]
        return metadata["finalizers"] == ["example.com/mine"] and not any(
            name.startswith("kopf") for name in metadata["annotations"])
    until(clean, "kopf's marks to be gone")
    assert kubectl.get("dsk", "c")["metadata"]["annotations"]["mine"] == "stays"


# Jobs ----------------------------------------------------------------------


@pytest.mark.parametrize("end, status", [("Succeeded", "Successful"), ("Failed", "Failed")])
def test_life_of_a_job(kubectl, operator, end, status):
    def job_status():
        return (kubectl.get("djb", "j") or {}).get("status", {})

    kubectl.apply(job("j", replicas=2))
    workers(kubectl, "j-default", 2)
    until(lambda: job_status().get("jobStatus") == "ClusterCreated", "ClusterCreated")
    runner = kubectl.get("pod", "j-runner")
    assert runner["metadata"]["labels"]["dask.org/component"] == "job-runner"
    set_pod(kubectl, "j-runner", "Running")
    until(lambda: job_status().get("jobStatus") == "Running", "Running")
    assert "endTime" not in job_status()
    set_pod(kubectl, "j-runner", end)
    until(lambda: job_status().get("jobStatus") == status, status)
    until(lambda: not kubectl.names("daskclusters,daskworkergroups,services"), "its cluster to be gone")
    until(lambda: kubectl.names("pods") == ["j-runner"], "only the runner to be left")
    assert sorted(job_status()) == ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]
    stays(lambda: job_status()["jobStatus"] == status, status)
    kubectl("delete", "djb", "j")
    until(lambda: not kubectl.names("pods"), "the runner to be gone")


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
