"""Failures that the operator must repair or report."""

import json
import re

import pytest
from support.api_server import Refused
from support.dask import JOINED, START, WORKERS, client_of, in_scheduler, names_of
from support.manifests import changed, cluster
from support.tls import Authority
from support.waiting import stays, until

LONG = 300

#: Taint that announces the termination of a node.
TERMINATION_TAINT = "aws-node-termination-handler/spot-itn"


def condition(kubectl, kind, name, type):
    """Condition of a resource by its type; empty if the resource has none of that type."""
    found = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return next((condition for condition in found if condition["type"] == type), {})


def test_an_idle_cluster_is_deleted_after_a_warning_event(kubectl, operator):
    kubectl.apply(changed(cluster("c", 1), "spec.idleTimeout", 12))
    with client_of(kubectl, "c", 1) as client:
        # A cluster that is busy for longer than the timeout is not idle.
        assert client.submit(lambda: __import__("time").sleep(18) or 7, pure=False).result(timeout=120) == 7
        assert kubectl.get("dsk", "c")
    until(lambda: not kubectl.names("daskclusters,pods,services"), "the idle cluster to be deleted", LONG, 0.5)
    kubectl.event("c", "IdleTimeoutSoon")
    kubectl.event("c", "IdleTimeout")


def test_a_suspended_cluster_has_no_pods_and_can_be_resumed(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    with client_of(kubectl, "c", 2):
        pass
    kubectl.patch("dsk", "c", {"spec": {"suspend": True}})
    until(lambda: not kubectl.names("pods"), "all pods to be deleted", LONG, 0.5)
    assert kubectl.names("daskworkergroups") == ["c-default"] and kubectl.names("services") == ["c-scheduler"]
    assert kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 2
    kubectl.patch("dsk", "c", {"spec": {"suspend": False}})
    with client_of(kubectl, "c", 2) as client:
        assert len(names_of(client)) == 2


def test_the_last_log_lines_of_a_crash_are_reported(kubectl, operator):
    crashing = changed(cluster("c", 1), "spec.worker.spec.containers.0.args", ["python", "-c", "raise OSError('no such disk')"])
    kubectl.apply(crashing)

    def is_reported():
        ready = condition(kubectl, "daskworkergroup", "c-default", "WorkersReady")
        assert ready.get("status") == "False" and "no such disk" in ready.get("message", ""), ready
        return True

    until(is_reported, "the condition to report the error", LONG, 0.5)


def test_workers_that_exit_at_once_are_replaced_with_back_off(kubectl, operator):
    """Five workers crash repeatedly for 45 seconds: there are few pods, at most two events, and a condition with all details."""
    crashing = changed(cluster("c", 5), "spec.worker.spec.containers.0.args", ["python", "-c", "raise OSError('no such disk')"])
    kubectl.apply(changed(crashing, "spec.worker.spec.restartPolicy", "Never"))
    made = set()

    def is_reported():
        pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name=c-default")
        made.update(pod["metadata"]["uid"] for pod in pods)
        ready = condition(kubectl, "daskworkergroup", "c-default", "WorkersReady")
        assert re.search(r"Error \(container worker: it ended with code 1: .*no such disk.*\); those that have ended are replaced at 20", ready.get("message", "")), ready
        assert len(made) > 5, made
        return True

    until(is_reported, "the replacement pods and the condition", LONG, 0.2)
    # Workers are replaced after 10, 20 and 40 seconds.
    assert len(made) <= 15
    lost_events = [message for reason, message in kubectl.events("c-default") if reason == "WorkerLost"]
    assert len(lost_events) <= 2, lost_events
    until(lambda: "no such disk" in condition(kubectl, "dsk", "c", "WorkersReady").get("message", ""), "the cluster to report the error")
    # After a fix of the spec, the workers are created without delay.
    kubectl.apply(cluster("c", 5))
    with client_of(kubectl, "c", 5) as client:
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3


def test_an_oom_killed_worker_is_reported_and_restarted(kubectl, operator):
    limited = changed(cluster("c", 1), "spec.worker.spec.containers.0.resources", {"limits": {"memory": "300Mi"}})
    # The scheduler gives up a task after one death of a worker.
    no_retries = [{"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}]
    limited = changed(limited, "spec.scheduler.spec.containers.0.env", no_retries)
    limited = changed(limited, "spec.worker.spec.containers.0.args", ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--no-nanny"])
    greedy = {"name": "greedy", "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent",
              "command": ["python", "-c", "b'x' * (1 << 30)"], "resources": {"limits": {"memory": "100Mi"}}}
    group = {"apiVersion": limited["apiVersion"], "kind": "DaskWorkerGroup", "metadata": {"name": "greedy"},
             "spec": {"cluster": "c", "worker": {"replicas": 1, "spec": {"containers": [greedy]}}}}
    kubectl.apply(limited, group)
    with client_of(kubectl, "c", 1) as client:
        # Only the e2e environment has this package.
        from distributed import KilledWorker

        before = kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=c-default")
        with pytest.raises(KilledWorker):
            client.submit(lambda: len(b"x" * (1 << 30)), pure=False).result(timeout=LONG)
        client.wait_for_workers(1, timeout=START)
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
    assert kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=c-default") == before

    def is_reported():
        ready = condition(kubectl, "daskworkergroup", "greedy", "WorkersReady")
        assert "OOMKilled" in ready["reason"] + ready["message"], ready
        return True

    until(is_reported, "the condition to name the reason", LONG, 0.5)


def test_workers_that_never_reach_the_scheduler_are_reported(kubectl, operator):
    """Covers worker arguments of the first documentation, which name a Service that no longer exists, and a scheduler that listens on
    another port."""
    outdated_args = ["dask-worker", "tcp://old-service:8786", "--name", "$(DASK_WORKER_NAME)"]
    kubectl.apply(changed(cluster("old", 1), "spec.worker.spec.containers.0.args", outdated_args),
                  changed(cluster("elsewhere", 1), "spec.scheduler.spec.containers.0.args", ["dask-scheduler", "--port", "9999"]))

    def reported(name, status, reason):
        available = condition(kubectl, "dsk", name, "Available")
        assert (available.get("status"), available.get("reason")) == (status, reason), available
        return available["message"], condition(kubectl, "dsk", name, "SpecQuestionable").get("message")

    available, questionable = until(lambda: reported("old", "True", "NoWorkerRegistered"), "the condition for missing workers", LONG, 0.5)
    assert "the condition SpecQuestionable says what is probably wrong" in available
    assert "leads to no Service of this cluster" in questionable
    available, questionable = until(lambda: reported("elsewhere", "False", "SchedulerUnreachable"), "the condition for the unreachable scheduler", LONG, 0.5)
    assert "nothing answers at the comm port of its Service" in available
    assert "listens at port 9999" in questionable
    # A fix of the spec is noticed.
    kubectl.apply(cluster("old", 1))
    until(lambda: condition(kubectl, "dsk", "old", "Available").get("reason") == "SchedulerReachable", "a worker to register", LONG, 0.5)


def test_tls_that_is_enabled_outside_the_manifest_is_reported(kubectl, operator, tmp_path):
    """Settings of a platform enable TLS through `envFrom`. One cluster repeats that in its scheduler arguments, the other does not."""
    authority = Authority(tmp_path / "tls")
    settings = {**authority.variables("/tls"), "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
                "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"}
    files = {path.name: path.read_text() for path in authority.folder.iterdir()}
    kubectl.apply(*({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts}
                    for name, texts in {"tls-settings": settings, "tls-files": files}.items()))

    def with_tls(name, *args):
        made = cluster(name, 1)
        for part in ("worker", "scheduler"):
            spec = made["spec"][part]["spec"]
            spec["volumes"] = [{"name": "tls", "secret": {"secretName": "tls-files"}}]
            spec["containers"][0].update(envFrom=[{"secretRef": {"name": "tls-settings"}}],
                                         volumeMounts=[{"name": "tls", "mountPath": "/tls", "readOnly": True}])
        made["spec"]["scheduler"]["spec"]["containers"][0]["args"] += args
        return made

    kubectl.apply(with_tls("silent"), with_tls("told", "--protocol", "tls"))

    def is_reported():
        available = condition(kubectl, "dsk", "silent", "Available")
        assert (available.get("status"), available.get("reason")) == ("False", "SchedulerUnreachable"), available
        return "`--protocol`, `tls` in spec.scheduler.spec.containers[0].args" in available["message"]

    until(is_reported, "the condition to name the missing argument", LONG, 0.5)

    def worker_computes():
        printed = in_scheduler(kubectl, "told", JOINED.replace("tcp://", "tls://"))
        assert printed.split() == ["1", "6"], printed
        return True

    until(worker_computes, "the worker of the cluster with the argument to join", START, 2)


def test_a_scheduler_restart_is_counted(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    with client_of(kubectl, "c", 1):
        pass
    kill_scheduler = ("import os, signal\n"
            "for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):\n"
            "    line = open(f'/proc/{pid}/cmdline').read()\n"
            "    if pid != os.getpid() and 'scheduler' in line and 'tini' not in line: os.kill(pid, signal.SIGKILL)")
    try:
        kubectl("exec", "c-scheduler", "--", "python3", "-c", kill_scheduler)
    except Refused as refused:
        # The container ends with its scheduler, which also kills the `kubectl exec` process if that is still running.
        assert "exit code 137" in str(refused), refused

    def is_counted():
        assert (kubectl.get("dsk", "c") or {}).get("status", {}).get("schedulerRestarts") == 1
        return True

    until(is_counted, "the restart to be counted", LONG, 0.5)
    with client_of(kubectl, "c", 1) as client:
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
    kubectl.event("c", "SchedulerRestarted")


def test_results_are_moved_away_from_a_node_that_will_be_terminated(kubectl, admin, operator):
    node = admin.names("nodes")[0]
    kubectl.apply(cluster("c", 2))
    with client_of(kubectl, "c", 2) as client:
        before = kubectl.names("pods", WORKERS)
        # Each worker has some results. A worker without results could leave without a successor.
        futures = [client.submit(lambda number: number, number, workers=before[number % 2], pure=False) for number in range(50)]
        client.gather(futures)
        admin("taint", "nodes", node, f"{TERMINATION_TAINT}=:NoSchedule")
        try:
            until(lambda: len(kubectl.names("pods", WORKERS)) == 4, "two more workers", LONG, 0.2)
            stays(lambda: set(before) <= set(names_of(client)), "the workers that have no successor yet", 5)
        finally:
            admin("taint", "nodes", node, f"{TERMINATION_TAINT}-")
        # The taint is removed. Either the new workers start in time and take the results over, or the old workers need not leave.
        until(lambda: len(names_of(client)) == 2 and kubectl.names("pods", WORKERS) == names_of(client)
              and not any("retiring" in json.dumps(pod["metadata"]["annotations"]) for pod in kubectl.list("pods", WORKERS)),
              "two workers that stay", LONG, 0.5)
        assert client.gather(futures) == list(range(50))


def test_an_exceeded_quota_is_reported_and_waited_for(kubectl, operator):
    kubectl.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}})
    until(lambda: (kubectl.get("resourcequota", "few") or {}).get("status", {}).get("used"), "the quota to be counted")
    kubectl.apply(cluster("c", 3))

    def is_reported():
        failed = condition(kubectl, "daskworkergroup", "c-default", "ApplyFailed")
        assert "exceeded quota" in failed.get("message", ""), failed
        return True

    until(is_reported, "the API server's message in the condition", START, 0.5)
    stays(lambda: len(kubectl.names("pods")) <= 2, "two pods", 2)
    kubectl.patch("resourcequota", "few", {"spec": {"hard": {"pods": "10"}}})
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers", LONG, 0.5)
    until(lambda: not condition(kubectl, "daskworkergroup", "c-default", "ApplyFailed"), "the condition to be removed", LONG, 0.5)
