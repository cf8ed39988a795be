"""Jobs and schedulers on a real API server without a node. The tests set pod statuses in place of a kubelet."""

from support.dask import workers
from support.manifests import changed, cluster, job
from support.waiting import COLLECTED, GENEROUS, stays, until

ENDED = ["clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]


def set_phase(kubectl, name, phase, **more):
    """Sets the status of a pod, in place of a kubelet."""
    kubectl.patch("pod", name, {"status": {"phase": phase, **more}}, subresource="status")


def uid(kubectl, name="j-runner"):
    """UID of a pod that is not being deleted, or None."""
    metadata = (kubectl.get("pod", name) or {}).get("metadata", {})
    return None if "deletionTimestamp" in metadata else metadata.get("uid")


def status(kubectl, kind="djb", name="j"):
    """Status of a resource; empty if there is none."""
    return (kubectl.get(kind, name) or {}).get("status", {})


def await_job_status(kubectl, stage, timeout=GENEROUS):
    """Waits until the job has this ``jobStatus``."""
    until(lambda: status(kubectl).get("jobStatus") == stage, stage, timeout)


def condition(kubectl, type, kind="djb", name="j"):
    """Status and reason of a condition; None if the resource has no condition of that type."""
    for condition in status(kubectl, kind, name).get("conditions", []):
        if condition["type"] == type:
            return condition["status"], condition["reason"]
    return None


def await_replacement(kubectl, old_uid, name="j-runner"):
    """Waits for another pod of the same name, and returns its UID."""
    until(lambda: uid(kubectl, name) not in (None, old_uid), f"another {name}")
    return uid(kubectl, name)


def start_job(kubectl, **spec):
    """Creates a job, marks its runner as running, and returns the UID of the runner."""
    manifest = job("j")
    for field, value in spec.items():
        manifest = changed(manifest, f"spec.{field}", value)
    kubectl.apply(manifest)
    await_job_status(kubectl, "ClusterCreated")
    set_phase(kubectl, "j-runner", "Running")
    await_job_status(kubectl, "Running")
    return uid(kubectl)


def reasons(kubectl, name="j"):
    """Reasons of the events about an object."""
    return [reason for reason, _ in kubectl.events(name)]


def await_recorded_runner(kubectl, runner):
    """Waits until the job's status names the runner. From then on the runner counts as an attempt."""
    until(lambda: status(kubectl).get("attempts", {}).get("runner") == runner, "the runner to be recorded")


def test_a_recorded_runner_counts_as_an_attempt(kubectl, operator):
    first_runner = start_job(kubectl, backoffLimit=2)
    set_phase(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    second_runner = await_replacement(kubectl, first_runner)
    # The second runner is deleted while it is pending.
    await_recorded_runner(kubectl, second_runner)
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
    third_runner = await_replacement(kubectl, second_runner)
    assert status(kubectl)["jobStatus"] == "Running"
    set_phase(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    await_job_status(kubectl, "Failed")
    until(lambda: kubectl.names("daskclusters,pods") == ["j-runner"], "the job's cluster to be deleted", timeout=COLLECTED)
    assert uid(kubectl) == third_runner, "the last runner must remain, for its logs"
    assert sorted(status(kubectl)) == ENDED
    assert "attempt 3 of 3 failed" in kubectl.event("j", "JobFailed")
    assert reasons(kubectl).count("RunnerFailed") == 2


def test_an_unrecorded_runner_is_not_an_attempt(kubectl, operator):
    first_runner = start_job(kubectl, backoffLimit=1)
    await_recorded_runner(kubectl, first_runner)
    operator.kill()
    try:
        # An operator that is killed between the two writes leaves a runner that the status does not name.
        runner = kubectl.get("pod", "j-runner")
        kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
        metadata = {field: runner["metadata"][field] for field in ("name", "labels", "ownerReferences")}
        kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": job("j")["spec"]["job"]["spec"]})
        second_runner = uid(kubectl)
        kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0")
    finally:
        operator.start()
    third_runner = await_replacement(kubectl, second_runner)
    await_recorded_runner(kubectl, third_runner)
    assert status(kubectl)["attempts"]["former"] == 1 and status(kubectl)["jobStatus"] == "Running"
    set_phase(kubectl, "j-runner", "Failed", reason="Evicted", message="low on memory")
    await_job_status(kubectl, "Failed")
    assert "attempt 2 of 2 failed" in kubectl.event("j", "JobFailed")


def test_a_deadline_stops_the_runner(kubectl, operator):
    start_job(kubectl, deletionPolicy="OnSuccess")
    # The deadline is set only now, so that it cannot pass before the job runs.
    kubectl.patch("djb", "j", {"spec": {"activeDeadlineSeconds": 5}})
    await_job_status(kubectl, "Failed")
    until(lambda: uid(kubectl) is None, "the runner to be deleted")
    stays(lambda: kubectl.names("daskclusters") == ["j"], "the job's cluster")


def test_a_finished_job_is_deleted_after_its_time_to_live(kubectl, operator):
    start_job(kubectl, ttlSecondsAfterFinished=3)
    set_phase(kubectl, "j-runner", "Succeeded")
    await_job_status(kubectl, "Successful")
    until(lambda: not kubectl.get("djb", "j"), "the job to be deleted")
    until(lambda: not kubectl.names("daskclusters,pods,services"), "all children to be deleted")


def test_a_job_can_be_suspended_and_resumed(kubectl, operator):
    first_runner = start_job(kubectl)
    kubectl.patch("djb", "j", {"spec": {"suspend": True}})
    until(lambda: condition(kubectl, "Suspended") == ("True", "JobSuspended"), "the condition")
    until(lambda: not kubectl.names("daskclusters") and uid(kubectl) is None, "the cluster and the runner to be deleted")
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0", "--ignore-not-found")
    assert status(kubectl)["jobStatus"] == "Running" and "startTime" not in status(kubectl)
    stays(lambda: not kubectl.names("daskclusters,pods"), "the absence of children")
    kubectl.patch("djb", "j", {"spec": {"suspend": False}})
    await_replacement(kubectl, first_runner)
    until(lambda: kubectl.names("daskclusters") == ["j"], "the cluster")
    assert condition(kubectl, "Suspended") == ("False", "JobResumed")
    set_phase(kubectl, "j-runner", "Succeeded")
    await_job_status(kubectl, "Successful")


def test_a_job_name_can_be_reused_at_once(kubectl, operator):
    """dask-kubernetes#829: the runner of the previous job still exists when the new job starts."""
    first_runner = start_job(kubectl)
    kubectl.patch("pod", "j-runner", {"metadata": {"finalizers": ["example.com/slow"]}})
    kubectl("delete", "djb", "j", "--wait=true")
    kubectl.apply(job("j"))
    await_job_status(kubectl, "JobCreated")
    stays(lambda: (kubectl.get("pod", "j-runner") or {})["metadata"]["uid"] == first_runner, "the previous runner")
    # Garbage collection may not have deleted the runner yet. The operator makes the new runner as soon as the previous one is
    # gone, so this deletion must come before the finalizer is removed.
    kubectl("delete", "pod", "j-runner", "--force", "--grace-period=0", "--wait=false")
    kubectl.patch("pod", "j-runner", {"metadata": {"finalizers": None}})
    await_replacement(kubectl, first_runner)
    owner = kubectl.get("pod", "j-runner")["metadata"]["ownerReferences"][0]["uid"]
    assert owner == kubectl.get("djb", "j")["metadata"]["uid"]
    await_job_status(kubectl, "ClusterCreated", timeout=COLLECTED)


def test_the_end_of_a_job_is_noticed_after_a_crash_of_the_operator(kubectl, operator):
    start_job(kubectl)
    operator.kill()
    set_phase(kubectl, "j-runner", "Succeeded")
    operator.start()
    await_job_status(kubectl, "Successful")
    until(lambda: kubectl.names("daskclusters,pods") == ["j-runner"], "the job's cluster to be deleted", timeout=COLLECTED)


def test_workers_leave_quota_for_the_runner(kubectl, operator):
    """dask-kubernetes#684: workers used up the quota, and the runner never started."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}}
    kubectl.apply(quota)
    until(lambda: status(kubectl, "resourcequota", "few").get("hard"), "the quota to be counted")
    kubectl.apply(job("j", replicas=10))
    await_job_status(kubectl, "ClusterCreated")
    until(lambda: len(kubectl.names("pods")) == 3, "as many pods as the quota allows")
    assert uid(kubectl)


def test_an_outdated_scheduler_is_replaced_only_with_recreate(kubectl, operator):
    manifest = cluster("c", 0)
    kubectl.apply(manifest)
    until(lambda: uid(kubectl, "c-scheduler"), "the scheduler")
    first_runner = uid(kubectl, "c-scheduler")
    newer = changed(manifest, "spec.scheduler.spec.containers.0.image", "newer")
    kubectl.apply(newer)
    until(lambda: condition(kubectl, "SchedulerUpToDate", "dsk", "c") == ("False", "OnDelete"),
          "the condition that reports the outdated scheduler")
    stays(lambda: uid(kubectl, "c-scheduler") == first_runner, "the old scheduler")
    kubectl.apply(changed(newer, "spec.schedulerUpdate", "Recreate"))
    await_replacement(kubectl, first_runner, "c-scheduler")
    assert kubectl.get("pod", "c-scheduler")["spec"]["containers"][0]["image"] == "newer"
    until(lambda: condition(kubectl, "SchedulerUpToDate", "dsk", "c") == ("True", "UpToDate"), "the scheduler to be up to date")


def test_a_cluster_can_be_suspended_and_resumed(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    until(lambda: len(kubectl.names("pods")) == 3, "all pods")
    kubectl.patch("dsk", "c", {"spec": {"suspend": True}})
    until(lambda: condition(kubectl, "Suspended", "dsk", "c"), "the condition")
    until(lambda: not kubectl.names("pods"), "all pods to be deleted")
    assert status(kubectl, "dsk", "c")["phase"] == "Pending"
    kubectl.patch("dsk", "c", {"spec": {"suspend": False}})
    until(lambda: len(kubectl.names("pods")) == 3, "all pods again")
    until(lambda: status(kubectl, "dsk", "c")["phase"] == "Running", "the phase Running")


def test_a_manual_scale_of_a_job_cluster_persists(kubectl, operator):
    start_job(kubectl)
    kubectl("scale", "dsk/j", "--replicas=4")
    workers(kubectl, "j-default", 4)
    stays(lambda: kubectl.get("dsk", "j")["spec"]["worker"]["replicas"] == 4, "4 replicas")
    kubectl.patch("djb", "j", {"spec": {"cluster": {"spec": {"worker": {"replicas": 2}}}}})
    workers(kubectl, "j-default", 2)
