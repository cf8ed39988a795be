"""What goes wrong is mended, or said."""

import json
import re

import pytest
from support.api_server import Refused
from support.dask import JOINED, START, WORKERS, client_of, in_scheduler, names_of
from support.manifests import changed, cluster
from support.tls import Authority
from support.waiting import stays, until

LONG = 300

#: A taint that says that a node will be taken away soon.
NOTICE = "aws-node-termination-handler/spot-itn"


def condition(kubectl, kind, name, type):
    """A condition of a resource; empty if it has none of that type."""
    found = (kubectl.get(kind, name) or {}).get("status", {}).get("conditions", [])
    return next((condition for condition in found if condition["type"] == type), {})


def test_an_idle_cluster_is_announced_and_deleted(kubectl, operator):
    kubectl.apply(changed(cluster("c", 1), "spec.idleTimeout", 12))
    with client_of(kubectl, "c", 1) as client:
        # Busy for longer than the timeout: that is not idle.
        assert client.submit(lambda: __import__("time").sleep(18) or 7, pure=False).result(timeout=120) == 7
        assert kubectl.get("dsk", "c")
    until(lambda: not kubectl.names("daskclusters,pods,services"), "the idle cluster to be gone", LONG, 0.5)
    kubectl.event("c", "IdleTimeoutSoon")
    kubectl.event("c", "IdleTimeout")


def test_a_suspended_cluster_has_no_pods_and_comes_back(kubectl, operator):
    kubectl.apply(cluster("c", 2))
    with client_of(kubectl, "c", 2):
        pass
    kubectl.patch("dsk", "c", {"spec": {"suspend": True}})
    until(lambda: not kubectl.names("pods"), "all pods to be gone", LONG, 0.5)
    assert kubectl.names("daskworkergroups") == ["c-default"] and kubectl.names("services") == ["c-scheduler"]
    assert kubectl.get("daskworkergroup", "c-default")["spec"]["worker"]["replicas"] == 2
    kubectl.patch("dsk", "c", {"spec": {"suspend": False}})
    with client_of(kubectl, "c", 2) as client:
        assert len(names_of(client)) == 2


def test_a_crash_says_its_last_lines(kubectl, operator):
    broken = changed(cluster("c", 1), "spec.worker.spec.containers.0.args", ["python", "-c", "raise OSError('no such disk')"])
    kubectl.apply(broken)

    def said():
        ready = condition(kubectl, "daskworkergroup", "c-default", "WorkersReady")
        assert ready.get("status") == "False" and "no such disk" in ready.get("message", ""), ready
        return True

    until(said, "the condition to say why", LONG, 0.5)


def test_workers_that_end_at_once_are_made_later_and_later(kubectl, operator):
    """Five of them, for 45 seconds: few pods, two events at the most, and a condition that says all that is known."""
    broken = changed(cluster("c", 5), "spec.worker.spec.containers.0.args", ["python", "-c", "raise OSError('no such disk')"])
    kubectl.apply(changed(broken, "spec.worker.spec.restartPolicy", "Never"))
    made = set()

    def said():
        pods = kubectl.list("pods", f"{WORKERS},dask.org/workergroup-name=c-default")
        made.update(pod["metadata"]["uid"] for pod in pods)
        ready = condition(kubectl, "daskworkergroup", "c-default", "WorkersReady")
        assert re.search(r"Error \(container worker: it ended with code 1: .*no such disk.*\); those that have ended are replaced at 20", ready.get("message", "")), ready
        assert len(made) > 5, made
        return True

    until(said, "a second round and the condition", LONG, 0.2)
    # Rounds begin after 10, 20 and 40 seconds.
    assert len(made) <= 15
    lost = [message for reason, message in kubectl.events("c-default") if reason == "WorkerLost"]
    assert len(lost) <= 2, lost
    until(lambda: "no such disk" in condition(kubectl, "dsk", "c", "WorkersReady").get("message", ""), "the cluster to say it")
    # What is mended is made at once.
    kubectl.apply(cluster("c", 5))
    with client_of(kubectl, "c", 5) as client:
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3


def test_a_worker_that_took_too_much_memory_is_said_and_comes_back(kubectl, operator):
    small = changed(cluster("c", 1), "spec.worker.spec.containers.0.resources", {"limits": {"memory": "300Mi"}})
    # A scheduler of which one death of a worker is enough.
    once = [{"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}]
    small = changed(small, "spec.scheduler.spec.containers.0.env", once)
    small = changed(small, "spec.worker.spec.containers.0.args", ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--no-nanny"])
    greedy = {"name": "greedy", "image": "ghcr.io/dask/dask:latest", "imagePullPolicy": "IfNotPresent",
              "command": ["python", "-c", "b'x' * (1 << 30)"], "resources": {"limits": {"memory": "100Mi"}}}
    group = {"apiVersion": small["apiVersion"], "kind": "DaskWorkerGroup", "metadata": {"name": "greedy"},
             "spec": {"cluster": "c", "worker": {"replicas": 1, "spec": {"containers": [greedy]}}}}
    kubectl.apply(small, group)
    with client_of(kubectl, "c", 1) as client:
        from distributed import KilledWorker  # Only these tests have it.

        before = kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=c-default")
        with pytest.raises(KilledWorker):
            client.submit(lambda: len(b"x" * (1 << 30)), pure=False).result(timeout=LONG)
        client.wait_for_workers(1, timeout=START)
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
    assert kubectl.names("pods", f"{WORKERS},dask.org/workergroup-name=c-default") == before

    def said():
        ready = condition(kubectl, "daskworkergroup", "greedy", "WorkersReady")
        assert "OOMKilled" in ready["reason"] + ready["message"], ready
        return True

    until(said, "the condition to name the reason", LONG, 0.5)


def test_workers_that_never_find_the_scheduler_are_said(kubectl, operator):
    """Workers of the first documentation call a Service that does not exist any more; a scheduler listens elsewhere."""
    lost = ["dask-worker", "tcp://old-service:8786", "--name", "$(DASK_WORKER_NAME)"]
    kubectl.apply(changed(cluster("old", 1), "spec.worker.spec.containers.0.args", lost),
                  changed(cluster("elsewhere", 1), "spec.scheduler.spec.containers.0.args", ["dask-scheduler", "--port", "9999"]))

    def said(name, status, reason):
        available = condition(kubectl, "dsk", name, "Available")
        assert (available.get("status"), available.get("reason")) == (status, reason), available
        return available["message"], condition(kubectl, "dsk", name, "SpecQuestionable").get("message")

    available, questionable = until(lambda: said("old", "True", "NoWorkerRegistered"), "why no worker registers", LONG, 0.5)
    assert "the condition SpecQuestionable says what is probably wrong" in available
    assert "leads to no Service of this cluster" in questionable
    available, questionable = until(lambda: said("elsewhere", "False", "SchedulerUnreachable"), "why clients can't connect", LONG, 0.5)
    assert "nothing answers at the comm port of its Service" in available
    assert "listens at port 9999" in questionable
    # What is mended is found.
    kubectl.apply(cluster("old", 1))
    until(lambda: condition(kubectl, "dsk", "old", "Available").get("reason") == "SchedulerReachable", "a worker to register", LONG, 0.5)


def test_tls_that_the_manifest_does_not_show_is_said(kubectl, operator, tmp_path):
    """Settings of a platform come by `envFrom`: one cluster does not say that they turn TLS on, and the other does."""
    authority = Authority(tmp_path / "tls")
    settings = {**authority.variables("/tls"), "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
                "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"}
    files = {path.name: path.read_text() for path in authority.folder.iterdir()}
    kubectl.apply(*({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts}
                    for name, texts in {"tls-settings": settings, "tls-files": files}.items()))

    def sealed(name, *args):
        made = cluster(name, 1)
        for part in ("worker", "scheduler"):
            spec = made["spec"][part]["spec"]
            spec["volumes"] = [{"name": "tls", "secret": {"secretName": "tls-files"}}]
            spec["containers"][0].update(envFrom=[{"secretRef": {"name": "tls-settings"}}],
                                         volumeMounts=[{"name": "tls", "mountPath": "/tls", "readOnly": True}])
        made["spec"]["scheduler"]["spec"]["containers"][0]["args"] += args
        return made

    kubectl.apply(sealed("silent"), sealed("told", "--protocol", "tls"))

    def said():
        available = condition(kubectl, "dsk", "silent", "Available")
        assert (available.get("status"), available.get("reason")) == ("False", "SchedulerUnreachable"), available
        return "`--protocol`, `tls` in spec.scheduler.spec.containers[0].args" in available["message"]

    until(said, "what to write", LONG, 0.5)

    def computes():
        printed = in_scheduler(kubectl, "told", JOINED.replace("tcp://", "tls://"))
        assert printed.split() == ["1", "6"], printed
        return True

    until(computes, "the worker of who said it to join", START, 2)


def test_a_scheduler_that_crashes_is_counted(kubectl, operator):
    kubectl.apply(cluster("c", 1))
    with client_of(kubectl, "c", 1):
        pass
    kill = ("import os, signal\n"
            "for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):\n"
            "    line = open(f'/proc/{pid}/cmdline').read()\n"
            "    if pid != os.getpid() and 'scheduler' in line and 'tini' not in line: os.kill(pid, signal.SIGKILL)")
    try:
        kubectl("exec", "c-scheduler", "--", "python3", "-c", kill)
    except Refused as refused:
        # The container ends with its scheduler, and takes with it who killed that, if it is still there.
        assert "exit code 137" in str(refused), refused

    def counted():
        assert (kubectl.get("dsk", "c") or {}).get("status", {}).get("schedulerRestarts") == 1
        return True

    until(counted, "the restart to be counted", LONG, 0.5)
    with client_of(kubectl, "c", 1) as client:
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
    kubectl.event("c", "SchedulerRestarted")


def test_a_node_that_is_about_to_go_is_left_with_all_results(kubectl, admin, operator):
    node = admin.names("nodes")[0]
    kubectl.apply(cluster("c", 2))
    with client_of(kubectl, "c", 2) as client:
        before = kubectl.names("pods", WORKERS)
        # Each of them holds some: who holds nothing needs nobody to hand it to.
        futures = [client.submit(lambda number: number, number, workers=before[number % 2], pure=False) for number in range(50)]
        client.gather(futures)
        admin("taint", "nodes", node, f"{NOTICE}=:NoSchedule")
        try:
            until(lambda: len(kubectl.names("pods", WORKERS)) == 4, "two more workers", LONG, 0.2)
            stays(lambda: set(before) <= set(names_of(client)), "who has nobody to hand results to", 5)
        finally:
            admin("taint", "nodes", node, f"{NOTICE}-")
        # The node stays after all. Either the others start in time and take over, or those before need not leave any more.
        until(lambda: len(names_of(client)) == 2 and kubectl.names("pods", WORKERS) == names_of(client)
              and not any("retiring" in json.dumps(pod["metadata"]["annotations"]) for pod in kubectl.list("pods", WORKERS)),
              "two workers that stay", LONG, 0.5)
        assert client.gather(futures) == list(range(50))


def test_quota_is_waited_for_and_said(kubectl, operator):
    kubectl.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}})
    until(lambda: (kubectl.get("resourcequota", "few") or {}).get("status", {}).get("used"), "the quota to be counted")
    kubectl.apply(cluster("c", 3))

    def said():
        failed = condition(kubectl, "daskworkergroup", "c-default", "ApplyFailed")
        assert "exceeded quota" in failed.get("message", ""), failed
        return True

    until(said, "the API server's words", START, 0.5)
    stays(lambda: len(kubectl.names("pods")) <= 2, "two pods", 2)
    kubectl.patch("resourcequota", "few", {"spec": {"hard": {"pods": "10"}}})
    until(lambda: len(kubectl.names("pods", WORKERS)) == 3, "three workers", LONG, 0.5)
    until(lambda: not condition(kubectl, "daskworkergroup", "c-default", "ApplyFailed"), "the condition to go", LONG, 0.5)
