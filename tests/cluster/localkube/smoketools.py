"""Clusters, manifests and clients of the smoke test."""

import contextlib
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from .settings import Cluster

HERE = Path(__file__).resolve().parent.parent
MAIN = Cluster.create("smoke", cidr="198.18.128.0/18")
BESIDE = Cluster.create("smoke2", cidr="198.18.192.0/18")
IMAGE = "ghcr.io/dask/dask:latest"
#: URL opener that ignores the environment's proxies.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def cli(*arguments, cluster=MAIN, check=True, timeout=1800):
    """Run the command line of tests/cluster, and return the completed process with its output."""
    options = ["--name", cluster.name, "--range", str(cluster.range)] if cluster else []
    done = subprocess.run([sys.executable, HERE, *arguments, *options], capture_output=True, text=True, check=False, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.stderr}{done.stdout}")
    return done


def kubectl(*arguments, cluster=MAIN, check=True, given=None):
    """Run the cluster's kubectl, and return its output."""
    done = subprocess.run([cluster.path("bin/kubectl"), f"--kubeconfig={cluster.kubeconfig}", *arguments],
                          input=given, capture_output=True, text=True, check=False, timeout=120)
    if check and done.returncode != 0:
        raise AssertionError(f"kubectl {arguments}: {done.stderr}{done.stdout}")
    return done.stdout


def server(name, replicas=1, port=8000, **container):
    """Return a Deployment whose pods serve a folder over HTTP."""
    spec = {"name": "main", "image": IMAGE, "imagePullPolicy": "Always", "args": ["python", "-m", "http.server", str(port)], **container}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [spec]}}}}


def service(name):
    """Return a Service on port 80 for :func:`server`."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]}}


def fetch(url, timeout=5):
    """Return the status of an HTTP request from the host, or 0 if there is no response or an error status."""
    with contextlib.suppress(OSError, urllib.error.URLError):
        with OPENER.open(url, timeout=timeout) as response:
            return response.status
    return 0


def refuse_all(listener, context):
    """Serve an admission webhook that denies every request, until the listener is closed."""
    while True:
        try:
            raw, _ = listener.accept()
            with raw, context.wrap_socket(raw, server_side=True) as client:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += client.recv(65536)
                head, _, body = received.partition(b"\r\n\r\n")
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
                while len(body) < length:
                    body += client.recv(65536)
                response = {"uid": json.loads(body)["request"]["uid"], "allowed": False, "status": {"message": "denied by the host"}}
                review = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(review), review))
        except ssl.SSLError:
            continue
        except OSError:
            return
