"""Pods, schedulers and clients of a Dask cluster, for tests."""

import socket
import subprocess
from contextlib import contextmanager

from support.kubectl import Refused
from support.waiting import GENEROUS, until

#: Timeout in seconds for the start of a scheduler or worker on a busy machine.
START = 300
#: Label selector of all worker pods.
WORKERS = "dask.org/component=worker"
#: Python program that runs in a scheduler's pod and prints the number of its workers and a sum that they computed.
JOINED = """
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        print(len(client.sync(client.scheduler.identity)["workers"]), client.submit(sum, [1, 2, 3]).result())
"""


def workers(kubectl, group_name, count, timeout=GENEROUS):
    """Wait until a worker group has exactly ``count`` pods, and return their names."""
    selector = f"{WORKERS},dask.org/workergroup-name={group_name}"

    def names():
        names = kubectl.names("pods", selector)
        assert len(names) == count, f"{len(names)} workers"
        return True

    until(names, f"{count} workers of {group_name}", timeout)
    return kubectl.names("pods", selector)


def pods(kubectl, name):
    """Return the UID and the restart counts of each of a cluster's pods by name, without pods that are being deleted."""
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], [status["restartCount"] for status in pod["status"].get("containerStatuses", [])])
            for pod in kubectl.list("pods", f"dask.org/cluster-name={name}") if not pod["metadata"].get("deletionTimestamp")}


def in_scheduler(kubectl, name, code):
    """Run Python code in the pod of a cluster's scheduler and return its output.

    Raises AssertionError if the pod is not ready or the code fails.
    """
    found = kubectl.list("pods", f"dask.org/cluster-name={name},dask.org/component=scheduler")
    assert found and all(status["ready"] for pod in found for status in pod["status"].get("containerStatuses", [{"ready": False}]))
    try:
        return kubectl("exec", found[0]["metadata"]["name"], "--", "python", "-c", code, timeout=120)
    except Refused as error:
        raise AssertionError(str(error)) from None


def joined(kubectl, name, count):
    """Wait until exactly ``count`` workers have joined a cluster's scheduler and computed a sum."""
    def seen():
        output = in_scheduler(kubectl, name, JOINED)
        assert output.split() == [str(count), "6"], output
        return True

    until(seen, f"{count} workers to join {name}", START, 2)


def port(service, name):
    """Return the number of a Service's named port."""
    return next(port["port"] for port in service["spec"]["ports"] if port["name"] == name)


def is_reachable(host, port):
    """Return whether a TCP connection to the port succeeds."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


@contextmanager
def scheduler_address(kubectl, cluster):
    """Provide an address at which this machine reaches a cluster's scheduler.

    The address is that of the Service, or a forwarded port if the Service is reachable only from inside the cluster. Raises
    ConnectionError, with the reason, if neither works.
    """
    service = kubectl.get("service", f"{cluster}-scheduler")
    if service is None:
        raise ConnectionError(f"there is no Service {cluster}-scheduler")
    host, number = service["spec"]["clusterIP"], port(service, "tcp-comm")
    if is_reachable(host, number):
        yield f"tcp://{host}:{number}"
        return
    command = ["kubectl", "--namespace", kubectl.namespace, "port-forward", f"service/{cluster}-scheduler", f":{number}"]
    with subprocess.Popen(command, env=kubectl.environment, text=True, stdout=subprocess.PIPE) as process:
        try:
            words = process.stdout.readline().split()
            if len(words) < 3:
                raise ConnectionError(f"kubectl forwards no port to Service {cluster}-scheduler")
            yield "tcp://" + words[2]
        finally:
            process.kill()


@contextmanager
def client_of(kubectl, name, count):
    """Provide a Dask client of a cluster after its workers have joined."""
    from distributed import Client  # Installed only for suites with real workers.

    until(lambda: any(condition["type"] == "SchedulerReady" and condition["status"] == "True"
                      for condition in (kubectl.get("dsk", name) or {}).get("status", {}).get("conditions", [])),
          "the scheduler to be ready", START, 0.5)
    with scheduler_address(kubectl, name) as address, Client(address, timeout=120, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=START)
        yield client


def answer(log):
    """Return the last line of a log that is a number: Dask's client may log warnings after it on exit. None if there is none."""
    return next((line for line in reversed(log.splitlines()) if line.isdecimal()), None)


def names_of(client):
    """Return the sorted names of the workers that a scheduler knows.

    ``Client.scheduler_info`` may list none: the client also refreshes it in the background, without the workers, and caches
    the last response.
    """
    return sorted(worker["name"] for worker in client.sync(client.scheduler.identity)["workers"].values())
