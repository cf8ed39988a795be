"""What belongs to a Dask cluster, as tests look for it."""

import socket
import subprocess
from contextlib import contextmanager

from support.waiting import until

#: Selects all worker pods.
WORKERS = "dask.org/component=worker"


def workers(kubectl, group_name, count, timeout=30):
    """Wait until a group has so many worker pods; return their names."""
    selector = f"{WORKERS},dask.org/workergroup-name={group_name}"

    def names():
        names = kubectl.names("pods", selector)
        assert len(names) == count, f"{len(names)} workers"
        return True

    until(names, f"{count} workers of {group_name}", timeout)
    return kubectl.names("pods", selector)


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
    reachable from inside."""
    service = kubectl.get("service", f"{cluster}-scheduler")
    host, number = service["spec"]["clusterIP"], port(service, "tcp-comm")
    if is_reachable(host, number):
        yield f"tcp://{host}:{number}"
        return
    command = ["kubectl", "--namespace", kubectl.namespace, "port-forward", f"service/{cluster}-scheduler", f":{number}"]
    with subprocess.Popen(command, env=kubectl.environment, text=True, stdout=subprocess.PIPE) as process:
        try:
            line = process.stdout.readline()
            yield "tcp://" + line.split()[2]
        finally:
            process.kill()
