"""Jobs in real pods, up to their ends, with failures in between."""

import pytest
from support.dask import START, answer
from support.manifests import changed, job
from support.waiting import stays, until

LONG = 300


def job_status(kubectl, name):
    """The field `jobStatus`, which other tools read; None if it is not set."""
    return (kubectl.get("djb", name) or {}).get("status", {}).get("jobStatus")


def await_end(kubectl, name, end):
    """Waits until a job has this final `jobStatus`."""
    until(lambda: job_status(kubectl, name) == end, f"the job to be {end}", LONG, 0.3)


def runner(kubectl, name):
    """Runner pod of a job; None if it does not exist or is being deleted."""
    pod = kubectl.get("pod", f"{name}-runner")
    return pod if pod and "deletionTimestamp" not in pod["metadata"] else None


def conditions(kubectl, kind, name):
    """Conditions of a resource by type."""
    found = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in found}


#: Runner code that computes a sum on the cluster and prints it.
COMPUTE = "import dask.distributed, time; print(dask.distributed.Client().submit(sum, [1, 2]).result())"


def test_a_failed_runner_is_retried_up_to_the_limit(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(3)"), "spec.backoffLimit", 2))
    uids = set()

    def failed():
        pod = runner(kubectl, "j")
        if pod:
            uids.add(pod["metadata"]["uid"])
        return job_status(kubectl, "j") == "Failed"

    until(failed, "the job to fail", LONG, 0.1)
    assert len(uids) == 3, "the number of attempts is not one plus two retries"
    assert sorted(kubectl.get("djb", "j")["status"]) == [
        "clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]
    until(lambda: not kubectl.names("daskclusters"), "the cluster to be deleted", START)


def test_container_restarts_count_as_attempts(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(3)", restart="OnFailure"), "spec.backoffLimit", 1))
    await_end(kubectl, "j", "Failed")


def test_a_lost_runner_is_replaced(kubectl, operator):
    kubectl.apply(changed(job("j", f"import time; time.sleep(8); {COMPUTE}"), "spec.backoffLimit", 1))
    until(lambda: job_status(kubectl, "j") == "Running", "the job to run", LONG, 0.2)
    kubectl("delete", "pod", "j-runner", "--grace-period=1")
    await_end(kubectl, "j", "Successful")


def test_a_lost_runner_without_retries_fails_the_job(kubectl, operator):
    kubectl.apply(job("j", "import time; time.sleep(600)"))
    until(lambda: job_status(kubectl, "j") == "Running", "the job to run", LONG, 0.2)
    kubectl("delete", "pod", "j-runner", "--grace-period=1")
    await_end(kubectl, "j", "Failed")


def test_a_job_fails_at_its_deadline(kubectl, operator):
    kubectl.apply(changed(job("j", "import time; time.sleep(600)"), "spec.activeDeadlineSeconds", 10))
    await_end(kubectl, "j", "Failed")
    until(lambda: not kubectl.names("daskclusters"), "the cluster to be deleted", START)
    kubectl.event("j", words="eadline")


@pytest.mark.parametrize("code, end", [(COMPUTE, "Successful"), ("raise SystemExit(3)", "Failed")])
def test_a_job_ends_although_a_sidecar_keeps_running(kubectl, operator, code, end):
    """The job ends when its code ends, and the remaining containers of the runner are stopped."""
    manifest = job("j", code)
    containers = manifest["spec"]["job"]["spec"]["containers"]
    containers[0]["name"] = "job"
    containers.insert(0, {"name": "proxy", "image": containers[0]["image"], "args": ["sleep", "infinity"]})
    kubectl.apply(manifest)
    await_end(kubectl, "j", end)
    if end == "Failed":
        kubectl.event("j", words="container job: it ended with code 3")
    until(lambda: not kubectl.names("pods"), "the runner and the cluster to be deleted", START)


def test_the_exit_code_of_a_native_sidecar_is_ignored(kubectl, operator):
    """Kubernetes stops the sidecar when the code ends. Its non-zero exit code does not fail the job."""
    manifest = changed(job("j", COMPUTE), "spec.backoffLimit", 0)
    spec = manifest["spec"]["job"]["spec"]
    exits_on_sigterm = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(3600)"
    spec["initContainers"] = [{**spec["containers"][0], "name": "proxy", "args": ["python", "-c", exits_on_sigterm], "restartPolicy": "Always"}]
    kubectl.apply(manifest)
    made = until(lambda: kubectl.get("pod", "j-runner"), "the runner", START)["spec"]["initContainers"][0]
    assert (made["restartPolicy"], made["args"]) == ("Always", ["python", "-c", exits_on_sigterm])
    await_end(kubectl, "j", "Successful")
    kubectl.event("j", "JobSuccessful")
    assert "RunnerFailed" not in [reason for reason, _ in kubectl.events("j")]


def test_a_finished_job_is_deleted_after_its_time_to_live(kubectl, operator):
    kubectl.apply(changed(job("j", "pass"), "spec.ttlSecondsAfterFinished", 5))
    # The event is checked in place of the status: on a busy machine, five seconds can pass between two polls.
    kubectl.event("j", "JobSuccessful", timeout=LONG)
    until(lambda: not kubectl.names("daskjobs,pods"), "the job to be deleted", START, 0.5)


def test_a_suspended_job_has_no_pods_and_can_be_resumed(kubectl, operator):
    kubectl.apply(changed(job("j", COMPUTE), "spec.suspend", True))
    until(lambda: conditions(kubectl, "djb", "j").get("Suspended", {}).get("status") == "True", "Suspended", START)
    stays(lambda: not kubectl.names("pods,daskclusters"), "the absence of pods and clusters", 2)
    kubectl.patch("djb", "j", {"spec": {"suspend": False}})
    await_end(kubectl, "j", "Successful")
    assert answer(kubectl("logs", "j-runner")) == "3"


def test_the_cluster_of_a_failed_job_can_be_preserved(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(1)"), "spec.deletionPolicy", "OnSuccess"))
    await_end(kubectl, "j", "Failed")
    stays(lambda: kubectl.names("daskclusters") == ["j"], "the cluster", 3)


def test_the_runner_waits_for_workers(kubectl, operator):
    code = "import dask.distributed; client = dask.distributed.Client(); print(len(client.sync(client.scheduler.identity)['workers']))"
    kubectl.apply(changed(job("j", code, replicas=3), "spec.waitForWorkers", 3))
    await_end(kubectl, "j", "Successful")
    assert answer(kubectl("logs", "j-runner")) == "3"


def test_a_job_name_can_be_reused_at_once(kubectl, operator):
    for number in range(3):
        kubectl.apply(job("j", f"print({number})"))
        await_end(kubectl, "j", "Successful")
        assert answer(kubectl("logs", "j-runner")) == str(number)
        kubectl("delete", "djb", "j", "--wait=false")
        until(lambda: not kubectl.get("djb", "j"), "the job to be deleted", START)


def test_a_deleted_idle_cluster_of_a_job_is_not_recreated(kubectl, operator):
    code = f"{COMPUTE}; dask.distributed.default_client().close(); time.sleep(45); print('done')"
    kubectl.apply(changed(job("j", code), "spec.cluster.spec.idleTimeout", 5))
    until(lambda: kubectl.names("daskclusters") == ["j"], "the cluster", START)
    until(lambda: not kubectl.names("daskclusters"), "the idle cluster to be deleted", LONG, 0.5)
    assert job_status(kubectl, "j") == "Running"
    stays(lambda: not kubectl.names("daskclusters"), "the absence of a cluster", 5)
    await_end(kubectl, "j", "Successful")
