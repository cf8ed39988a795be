"""Jobs and schedulers on a real API server without a node: tests say what a kubelet would."""

from support.dask import workers
from support.manifests import changed, cluster, job
from support.waiting import COLLECTED, GENEROUS, stays, until

ENDED = ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]


def says(kubectl, name, phase, **more):
    """Say of a pod what a kubelet would."""
    kubectl.patch("pod", name, {"status": {"phase": phase, **more}}, subresource="status")


def uid(kubectl, name="j-runner"):
    """The uid of a pod that is not on its way out, or None."""
    metadata = (kubectl.get("pod", name) or {}).get("metadata", {})
    return None if "deletionTimestamp" in metadata else metadata.get("uid")


def status(kubectl, kind="djb", name="j"):
    return (kubectl.get(kind, name) or {}).get("status", {})


def is_at(kubectl, stage, timeout=GENEROUS):
    until(lambda: status(kubectl).get("jobStatus") == stage, stage, timeout)


def condition(kubectl, type, kind="djb", name="j"):
    """A condition's status and reason, or None."""
    for condition in status(kubectl, kind, name).get("conditions", []):
        if condition["type"] == type:
            return condition["status"], condition["reason"]
    return None


def other(kubectl, before, name="j-runner"):
    """Wait for another pod of the same name."""
    until(lambda: uid(kubectl, name) not in (None, before), f"another {name}")
    return uid(kubectl, name)


def runs(kubectl, **spec):
    """A job whose runner runs."""
    manifest = job("j")
    for field, value in spec.items():
        manifest = changed(manifest, f"spec.{field}", value)
    kubectl.apply(manifest)
    is_at(kubectl, "ClusterCreated")
    says(kubectl, "j-runner", "Running")
    is_at(kubectl, "Running")
    return uid(kubectl)


def reasons(kubectl, name="j"):
    return [reason for reason, _ in kubectl.events(name)]


def recorded(kubectl, runner):
    """Wait until the job's status names a runner: from then on it counts as an attempt."""
    until(lambda: status(kubectl).get("attempts", {}).get("runner") == runner, "the runner to be recorded")


def test_a_recorded_runner_is_an_attempt(kubectl, operator):
    first = runs(kubectl, backoffLimit=2)
    says(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    second = other(kubectl, first)
    # Deleted while it is pending.
    recorded(kubectl, second)
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
    third = other(kubectl, second)
    assert status(kubectl)["jobStatus"] == "Running"
    says(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    is_at(kubectl, "Failed")
    until(lambda: kubectl.names("daskclusters,pods") == ["j-runner"], "its cluster to be gone", timeout=COLLECTED)
    assert uid(kubectl) == third, "the last runner stays for its logs"
    assert sorted(status(kubectl)) == ENDED
    assert "attempt 3 of 3 failed" in kubectl.event("j", "JobFailed")
    assert reasons(kubectl).count("RunnerFailed") == 2


def test_a_runner_that_was_not_recorded_is_no_attempt(kubectl, operator):
    first = runs(kubectl, backoffLimit=1)
    recorded(kubectl, first)
    operator.kill()
    try:
        # What an operator leaves that is killed in between: a runner that the status does not name.
        runner = kubectl.get("pod", "j-runner")
        kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
        kept = {field: runner["metadata"][field] for field in ("name", "labels", "ownerReferences")}
        kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": job("j")["spec"]["job"]["spec"]})
        second = uid(kubectl)
        kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
    finally:
        operator.start()
    third = other(kubectl, second)
    recorded(kubectl, third)
    assert status(kubectl)["attempts"]["former"] == 1 and status(kubectl)["jobStatus"] == "Running"
    says(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    is_at(kubectl, "Failed")
    assert "attempt 2 of 2 failed" in kubectl.event("j", "JobFailed")


def test_a_deadline_stops_the_runner(kubectl, operator):
    runs(kubectl, deletionPolicy="OnSuccess")
    # Set when it runs, so that it runs before the time is over.
    kubectl.patch("djb", "j", {"spec": {"activeDeadlineSeconds": 5}})
    is_at(kubectl, "Failed")
    until(lambda: uid(kubectl) is None, "the runner to be gone")
    stays(lambda: kubectl.names("daskclusters") == ["j"], "its cluster to stay")


def test_time_to_live(kubectl, operator):
    runs(kubectl, ttlSecondsAfterFinished=3)
    says(kubectl, "j-runner", "Succeeded")
    is_at(kubectl, "Successful")
    until(lambda: not kubectl.get("djb", "j"), "the job to be gone")
    until(lambda: not kubectl.names("daskclusters,pods,services"), "all that it made to be gone")


def test_suspension(kubectl, operator):
    first = runs(kubectl)
    kubectl.patch("djb", "j", {"spec": {"suspend": True}})
    until(lambda: condition(kubectl, "Suspended") == ("True", "JobSuspended"), "the condition")
    until(lambda: not kubectl.names("daskclusters") and uid(kubectl) is None, "nothing to run")
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0", "--ignore-not-found")
    assert status(kubectl)["jobStatus"] == "Running" and "startTime" not in status(kubectl)
    stays(lambda: not kubectl.names("daskclusters,pods"), "nothing to be made")
    kubectl.patch("djb", "j", {"spec": {"suspend": False}})
    other(kubectl, first)
    until(lambda: kubectl.names("daskclusters") == ["j"], "the cluster")
    assert condition(kubectl, "Suspended") == ("False", "JobResumed")
    says(kubectl, "j-runner", "Succeeded")
    is_at(kubectl, "Successful")


def test_a_name_is_used_again_at_once(kubectl, operator):
    """dask-kubernetes#829: the former job's runner is still there when the new job begins."""
    first = runs(kubectl)
    kubectl.patch("pod", "j-runner", {"metadata": {"finalizers": ["example.com/slow"]}})
    kubectl("delete", "djb", "j", "--wait=true")
    kubectl.apply(job("j"))
    is_at(kubectl, "JobCreated")
    stays(lambda: (kubectl.get("pod", "j-runner") or {})["metadata"]["uid"] == first, "the former runner")
    # Garbage collection may not have come to it yet. The new runner is there as soon as it goes, so it is deleted while it is held.
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0", "--wait=false")
    kubectl.patch("pod", "j-runner", {"metadata": {"finalizers": None}})
    other(kubectl, first)
    owner = kubectl.get("pod", "j-runner")["metadata"]["ownerReferences"][0]["uid"]
    assert owner == kubectl.get("djb", "j")["metadata"]["uid"]
    is_at(kubectl, "ClusterCreated", timeout=COLLECTED)


def test_an_end_survives_the_operator(kubectl, operator):
    runs(kubectl)
    operator.kill()
    says(kubectl, "j-runner", "Succeeded")
    operator.start()
    is_at(kubectl, "Successful")
    until(lambda: kubectl.names("daskclusters,pods") == ["j-runner"], "its cluster to be gone", timeout=COLLECTED)


def test_quota_is_left_for_the_runner(kubectl, operator):
    """dask-kubernetes#684: workers take the quota, and the runner never starts."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}}
    kubectl.apply(quota)
    until(lambda: status(kubectl, "resourcequota", "few").get("hard"), "the quota to be counted")
    kubectl.apply(job("j", replicas=10))
    is_at(kubectl, "ClusterCreated")
    until(lambda: len(kubectl.names("pods")) == 3, "as many pods as there may be")
    assert uid(kubectl)


def test_a_scheduler_is_updated(kubectl, operator):
    manifest = cluster("c", 0)
    kubectl.apply(manifest)
    until(lambda: uid(kubectl, "c-scheduler"), "the scheduler")
    first = uid(kubectl, "c-scheduler")
    newer = changed(manifest, "spec.scheduler.spec.containers.0.image", "newer")
    kubectl.apply(newer)
    until(lambda: condition(kubectl, "SchedulerUpToDate", "dsk", "c") == ("False", "OnDelete"), "to be told")
    stays(lambda: uid(kubectl, "c-scheduler") == first, "the scheduler to stay")
    kubectl.apply(changed(newer, "spec.schedulerUpdate", "Recreate"))
    other(kubectl, first, "c-scheduler")
    assert kubectl.get("pod", "c-scheduler")["spec"]["containers"][0]["image"] == "newer"
    until(lambda: condition(kubectl, "SchedulerUpToDate", "dsk", "c") == ("True", "UpToDate"), "to be up to date")


def test_a_suspended_cluster(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    until(lambda: len(kubectl.names("pods")) == 3, "all pods")
    kubectl.patch("dsk", "c", {"spec": {"suspend": True}})
    until(lambda: condition(kubectl, "Suspended", "dsk", "c"), "the condition")
    until(lambda: not kubectl.names("pods"), "nothing to run")
    assert status(kubectl, "dsk", "c")["phase"] == "Pending"
    kubectl.patch("dsk", "c", {"spec": {"suspend": False}})
    until(lambda: len(kubectl.names("pods")) == 3, "all pods again")
    until(lambda: status(kubectl, "dsk", "c")["phase"] == "Running", "to be running")


def test_who_scales_the_cluster_of_a_job_keeps_the_number(kubectl, operator):
    runs(kubectl)
    kubectl("scale", "dsk/j", "--replicas=4")
    workers(kubectl, "j-default", 4)
    stays(lambda: kubectl.get("dsk", "j")["spec"]["worker"]["replicas"] == 4, "4 replicas")
    kubectl.patch("djb", "j", {"spec": {"cluster": {"spec": {"worker": {"replicas": 2}}}}})
    workers(kubectl, "j-default", 2)
