"""Jobs to their ends, whatever comes between."""

import pytest
from support.dask import START, answer
from support.manifests import changed, job
from support.waiting import stays, until

LONG = 300


def job_status(kubectl, name):
    """The word that other tools read."""
    return (kubectl.get("djb", name) or {}).get("status", {}).get("jobStatus")


def ends(kubectl, name, word):
    """Wait until a job is over."""
    until(lambda: job_status(kubectl, name) == word, f"the job to be {word}", LONG, 0.3)


def runner(kubectl, name):
    """The runner pod, if it is there and stays."""
    pod = kubectl.get("pod", f"{name}-runner")
    return pod if pod and "deletionTimestamp" not in pod["metadata"] else None


def conditions(kubectl, kind, name):
    """A resource's conditions by type."""
    found = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return {condition["type"]: condition for condition in found}


#: Uses the cluster for as long as it takes.
WORKS = "import dask.distributed, time; print(dask.distributed.Client().submit(sum, [1, 2]).result())"


def test_a_runner_is_tried_again_until_the_limit(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(3)"), "spec.backoffLimit", 2))
    uids = set()

    def failed():
        pod = runner(kubectl, "j")
        if pod:
            uids.add(pod["metadata"]["uid"])
        return job_status(kubectl, "j") == "Failed"

    until(failed, "the job to fail", LONG, 0.1)
    assert len(uids) == 3, "a first attempt and two more"
    assert sorted(kubectl.get("djb", "j")["status"]) == [
        "clusterName", "endTime", "jobRunnerPodName", "jobStatus", "startTime"]
    until(lambda: not kubectl.names("daskclusters"), "the cluster to be gone", START)


def test_a_runner_whose_container_restarts_counts_too(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(3)", restart="OnFailure"), "spec.backoffLimit", 1))
    ends(kubectl, "j", "Failed")


def test_a_lost_runner_is_noticed_and_made_again(kubectl, operator):
    kubectl.apply(changed(job("j", f"import time; time.sleep(8); {WORKS}"), "spec.backoffLimit", 1))
    until(lambda: job_status(kubectl, "j") == "Running", "the job to run", LONG, 0.2)
    kubectl("delete", "pod", "j-runner", "--grace-period=1")
    ends(kubectl, "j", "Successful")


def test_a_lost_runner_without_another_try_is_the_end(kubectl, operator):
    kubectl.apply(job("j", "import time; time.sleep(600)"))
    until(lambda: job_status(kubectl, "j") == "Running", "the job to run", LONG, 0.2)
    kubectl("delete", "pod", "j-runner", "--grace-period=1")
    ends(kubectl, "j", "Failed")


def test_a_deadline_ends_it(kubectl, operator):
    kubectl.apply(changed(job("j", "import time; time.sleep(600)"), "spec.activeDeadlineSeconds", 10))
    ends(kubectl, "j", "Failed")
    until(lambda: not kubectl.names("daskclusters"), "the cluster to be gone", START)
    kubectl.event("j", words="eadline")


@pytest.mark.parametrize("code, word", [(WORKS, "Successful"), ("raise SystemExit(3)", "Failed")])
def test_a_sidecar_that_never_ends(kubectl, operator, code, word):
    """The code's end is the job's, and what is left of the runner is stopped."""
    manifest = job("j", code)
    containers = manifest["spec"]["job"]["spec"]["containers"]
    containers[0]["name"] = "job"
    containers.insert(0, {"name": "proxy", "image": containers[0]["image"], "args": ["sleep", "infinity"]})
    kubectl.apply(manifest)
    ends(kubectl, "j", word)
    if word == "Failed":
        kubectl.event("j", words="container job: it ended with code 3")
    until(lambda: not kubectl.names("pods"), "the runner and the cluster to be gone", START)


def test_a_native_sidecar_ends_with_the_code(kubectl, operator):
    """Kubernetes stops it, and what it ends with then is no failure of the job."""
    manifest = changed(job("j", WORKS), "spec.backoffLimit", 0)
    spec = manifest["spec"]["job"]["spec"]
    ends_so = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(3600)"
    spec["initContainers"] = [{**spec["containers"][0], "name": "proxy", "args": ["python", "-c", ends_so], "restartPolicy": "Always"}]
    kubectl.apply(manifest)
    made = until(lambda: kubectl.get("pod", "j-runner"), "the runner", START)["spec"]["initContainers"][0]
    assert (made["restartPolicy"], made["args"]) == ("Always", ["python", "-c", ends_so])
    ends(kubectl, "j", "Successful")
    kubectl.event("j", "JobSuccessful")
    assert "RunnerFailed" not in [reason for reason, _ in kubectl.events("j")]


def test_a_finished_job_is_deleted_after_its_time(kubectl, operator):
    kubectl.apply(changed(job("j", "pass"), "spec.ttlSecondsAfterFinished", 5))
    # Not its status: on a busy machine the five seconds can be over between two looks.
    kubectl.event("j", "JobSuccessful", timeout=LONG)
    until(lambda: not kubectl.names("daskjobs,pods"), "the job to be gone", START, 0.5)


def test_suspended_it_runs_nothing_and_resumed_it_runs(kubectl, operator):
    kubectl.apply(changed(job("j", WORKS), "spec.suspend", True))
    until(lambda: conditions(kubectl, "djb", "j").get("Suspended", {}).get("status") == "True", "Suspended", START)
    stays(lambda: not kubectl.names("pods,daskclusters"), "nothing", 2)
    kubectl.patch("djb", "j", {"spec": {"suspend": False}})
    ends(kubectl, "j", "Successful")
    assert answer(kubectl("logs", "j-runner")) == "3"


def test_a_failed_jobs_cluster_can_be_kept(kubectl, operator):
    kubectl.apply(changed(job("j", "raise SystemExit(1)"), "spec.deletionPolicy", "OnSuccess"))
    ends(kubectl, "j", "Failed")
    stays(lambda: kubectl.names("daskclusters") == ["j"], "the cluster", 3)


def test_the_runner_waits_for_workers(kubectl, operator):
    code = "import dask.distributed; client = dask.distributed.Client(); print(len(client.sync(client.scheduler.identity)['workers']))"
    kubectl.apply(changed(job("j", code, replicas=3), "spec.waitForWorkers", 3))
    ends(kubectl, "j", "Successful")
    assert answer(kubectl("logs", "j-runner")) == "3"


def test_a_name_can_be_used_again_at_once(kubectl, operator):
    for number in range(3):
        kubectl.apply(job("j", f"print({number})"))
        ends(kubectl, "j", "Successful")
        assert answer(kubectl("logs", "j-runner")) == str(number)
        kubectl("delete", "djb", "j", "--wait=false")
        until(lambda: not kubectl.get("djb", "j"), "the resource to be gone", START)


def test_an_idle_cluster_of_a_job_goes_and_does_not_come_back(kubectl, operator):
    code = f"{WORKS}; dask.distributed.default_client().close(); time.sleep(45); print('done')"
    kubectl.apply(changed(job("j", code), "spec.cluster.spec.idleTimeout", 5))
    until(lambda: kubectl.names("daskclusters") == ["j"], "the cluster", START)
    until(lambda: not kubectl.names("daskclusters"), "the idle cluster to be gone", LONG, 0.5)
    assert job_status(kubectl, "j") == "Running"
    stays(lambda: not kubectl.names("daskclusters"), "no cluster", 5)
    ends(kubectl, "j", "Successful")
