"""What belongs to a Dask cluster, as tests look for it."""

import socket
import subprocess
from contextlib import contextmanager

from support.kubectl import Refused
from support.waiting import GENEROUS, until

#: Seconds until a scheduler or worker has started, on a busy machine.
START = 300
#: Selects all worker pods.
WORKERS = "dask.org/component=worker"
#: Prints how many workers have joined the scheduler of the pod that it runs in, and a sum that they computed.
JOINED = """
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://localhost:8786", timeout=30) as client:
        print(len(client.sync(client.scheduler.identity)["workers"]), client.submit(sum, [1, 2, 3]).result())
"""


def workers(kubectl, group_name, count, timeout=GENEROUS):
    """Wait until a group has so many worker pods; return their names."""
    selector = f"{WORKERS},dask.org/workergroup-name={group_name}"

    def names():
        names = kubectl.names("pods", selector)
        assert len(names) == count, f"{len(names)} workers"
        return True

    until(names, f"{count} workers of {group_name}", timeout)
    return kubectl.names("pods", selector)


def pods(kubectl, name):
    """The ids of a cluster's pods, by their names."""
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], [status["restartCount"] for status in pod["status"].get("containerStatuses", [])])
            for pod in kubectl.list("pods", f"dask.org/cluster-name={name}") if not pod["metadata"].get("deletionTimestamp")}


def in_scheduler(kubectl, name, code):
    """What Python code prints in the pod of a cluster's scheduler. An AssertionError where that is not ready."""
    found = kubectl.list("pods", f"dask.org/cluster-name={name},dask.org/component=scheduler")
    assert found and all(status["ready"] for pod in found for status in pod["status"].get("containerStatuses", [{"ready": False}]))
    try:
        return kubectl("exec", found[0]["metadata"]["name"], "--", "python", "-c", code, timeout=120)
    except Refused as error:
        raise AssertionError(str(error)) from None


def joined(kubectl, name, count):
    """Wait until so many workers have joined a cluster's scheduler, and it computes."""
    def seen():
        said = in_scheduler(kubectl, name, JOINED)
        assert said.split() == [str(count), "6"], said
        return True

    until(seen, f"{count} workers to join {name}", START, 2)


def port(service, name):
    """The number of a Service's port."""
    return next(port["port"] for port in service["spec"]["ports"] if port["name"] == name)


def is_reachable(host, port):
    """Whether somebody answers there."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


@contextmanager
def scheduler_address(kubectl, cluster):
    """Where this machine reaches a cluster's scheduler: the Service's address, or a forwarded port where that is only
    reachable from inside. A ConnectionError says why it can't be reached."""
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
    """A Dask client of a cluster whose workers have joined."""
    from distributed import Client  # Only the tests with real workers have it.

    until(lambda: any(condition["type"] == "SchedulerReady" and condition["status"] == "True"
                      for condition in (kubectl.get("dsk", name) or {}).get("status", {}).get("conditions", [])),
          "the scheduler to be ready", START, 0.5)
    with scheduler_address(kubectl, name) as address, Client(address, timeout=120, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=START)
        yield client


def answer(log):
    """The last number in a log, on a line of its own: Dask's client may complain behind it when it ends."""
    return next((line for line in reversed(log.splitlines()) if line.isdecimal()), None)


def names_of(client):
    """The names of the workers that a scheduler knows. ``Client.scheduler_info`` may tell of none: the client looks in the
    background, too, for all but the workers, and keeps what it has seen last."""
    return sorted(worker["name"] for worker in client.sync(client.scheduler.identity)["workers"].values())
