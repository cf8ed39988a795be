"""Well-behaved tenants, which measure the operator from a user's view."""

import http.client
import json
import random
import threading
import time
import urllib.parse
import urllib.request

from hostile import JSON
from support.api_server import OPENER, Refused
from support.hook import unverified
from support.manifests import cluster

#: Name of each tenant's cluster and ConfigMap.
CLUSTER = "mine"
MERGE = {"Content-Type": "application/merge-patch+json"}
#: Seconds after which an update counts as without effect.
LATE = 60
WORKERS = "dask.org/component=worker"


class Watch(threading.Thread):
    """State of the objects at a path, updated by a watch."""

    def __init__(self, server, path, **query):
        super().__init__(daemon=True)
        query = urllib.parse.urlencode({"watch": "1", "timeoutSeconds": 3600, **query})
        self.request = urllib.request.Request(f"{server.url}{path}?{query}")
        self.changed = threading.Condition()
        self.reset()

    def reset(self):
        """Set the state to that before the first event."""
        raise NotImplementedError

    def apply(self, event):
        """Update the state by an event."""
        raise NotImplementedError

    def run(self):
        while True:
            try:
                with OPENER.open(self.request) as events:
                    with self.changed:
                        self.reset()
                    for line in events:
                        self.handle(json.loads(line))
            except (OSError, ValueError):  # the connection was closed: the new watch starts with all objects
                time.sleep(0.1)

    def handle(self, event):
        """Apply an event of the watch, and wake those that wait for a change."""
        with self.changed:
            self.apply(event)
            self.changed.notify_all()


class Pods(Watch):
    """The worker pods of a namespace."""

    def __init__(self, server, namespace):
        super().__init__(server, f"/api/v1/namespaces/{namespace}/pods", labelSelector=WORKERS)

    def reset(self):
        self.present = set()

    def apply(self, event):
        metadata = event["object"].get("metadata", {})
        deleted = event["type"] == "DELETED" or "deletionTimestamp" in metadata
        (self.present.discard if deleted else self.present.add)(metadata.get("uid"))

    def wait_for(self, count, seconds):
        """Wait until there are exactly ``count`` pods, and return whether that happened within ``seconds``."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.present) == count, seconds)


class Generations(Watch):
    """The times at which each generation of the only object at a path was first seen."""

    def reset(self):
        self.seen = {}

    def apply(self, event):
        self.seen.setdefault(event["object"].get("metadata", {}).get("generation"), time.monotonic())

    def wait_for(self, generation, seconds):
        """Wait until ``generation`` is seen, and return the time of that, or None if it was not seen within ``seconds``."""
        with self.changed:
            self.changed.wait_for(lambda: generation in self.seen, seconds)
            return self.seen.get(generation)


def review(old, number):
    """Return the AdmissionReview for an update of a cluster in the form that the API server sends."""
    kind = {"group": "kubernetes.dask.org", "version": "v1", "kind": old["kind"]}
    resource = {"group": "kubernetes.dask.org", "version": "v1", "resource": "daskclusters"}
    new = {**old, "spec": {**old["spec"], "idleTimeout": 3600 + number}}
    user = {"username": "system:serviceaccount:tenant:tenant", "groups": ["system:authenticated"]}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": str(number), "kind": kind, "resource": resource, "name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"],
        "operation": "UPDATE", "userInfo": user, "object": new, "oldObject": old, "dryRun": True}}


class Webhook:
    """Client of the webhook that sends reviews as the API server does, over one connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.connection = None

    def send(self, body):
        """Send a review, and return the reason of a refusal, or None if the request is allowed."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPSConnection(self.host, self.port, timeout=LATE, context=unverified(),
                                                              source_address=(self.host, 0))
            self.connection.request("POST", "/validate?timeout=10s", json.dumps(body).encode(), JSON)
            response = self.connection.getresponse()
            content = response.read()
            if response.status != 200:
                return f"{response.status}: {content.decode(errors='replace')}"
            verdict = json.loads(content)["response"]
            return None if verdict["allowed"] else verdict["status"]["message"]
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            return f"no response: {error!r}"


class Tenant(threading.Thread):
    """A tenant that changes a cluster every few seconds."""

    def __init__(self, kubectl, webhook, samples, period):
        super().__init__(daemon=True)
        self.kubectl, self.webhook, self.samples, self.period = kubectl, webhook, samples, period
        self.server = kubectl.server()
        self.pods = Pods(self.server, kubectl.namespace)
        self.over = threading.Event()
        path = self.server.resource("daskclusters").path(kubectl.namespace)
        self.generations = Generations(self.server, path)
        self.cluster = f"{self.server.url}{path}/{CLUSTER}"
        self.control = f"{self.server.url}/api/v1/namespaces/{kubectl.namespace}/configmaps/{CLUSTER}"

    def prepare(self):
        """Create a cluster with one worker, and a ConfigMap."""
        control = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLUSTER}, "data": {"a": "b"}}
        self.kubectl.apply(cluster(CLUSTER, 1), control)
        self.pods.start()
        self.generations.start()
        self.old = self.server.read(self.cluster.removeprefix(self.server.url))
        # Open the connection before the measurement starts.
        self.webhook.send(review(self.old, 0))

    def is_ready(self):
        """Return whether the worker's pod exists."""
        return self.pods.wait_for(1, 0)

    def run(self):
        time.sleep(random.uniform(0, self.period))
        number = 0
        while not self.over.wait(self.period):
            number += 1
            self.patch("api", self.control, {"data": {"a": str(number)}}, dry=True)
            self.patch("admission", self.cluster, {"spec": {"idleTimeout": 3600 + number}}, dry=True)
            self.review(number)
            self.change(1 + number % 2)

    def patch(self, kind, url, change, dry=False):
        """Change an object, possibly by dry run only, and record the duration as ``kind``.

        Return the changed object, or None if the request failed.
        """
        request = urllib.request.Request(url + ("?dryRun=All" if dry else ""), json.dumps(change).encode(), MERGE, method="PATCH")
        begin = time.monotonic()
        try:
            # None means that the object does not exist.
            changed = self.server.send(request)
        except Refused as error:
            self.samples.add_problem(f"{self.kubectl.namespace}: {error}"[:300])
            return None
        if kind:
            self.samples.add(kind, time.monotonic() - begin)
        return changed

    def review(self, number):
        """Send a review of an update to the webhook directly, and record the duration."""
        body = review(self.old, number)
        begin = time.monotonic()
        refused = self.webhook.send(body)
        if refused:
            self.samples.add_problem(f"{self.kubectl.namespace}: {refused}"[:300])
        else:
            self.samples.add("webhook", time.monotonic() - begin)

    def change(self, workers):
        """Change the number of workers, and record two durations from the response: until the pods exist, and until a watch shows
        the change itself."""
        changed = self.patch(None, self.cluster, {"spec": {"worker": {"replicas": workers}}})
        if not changed:
            return
        begin = time.monotonic()
        if self.pods.wait_for(workers, LATE):
            self.samples.add("reconcile", time.monotonic() - begin)
        else:
            self.samples.add_problem(f"{self.kubectl.namespace}: there were not {workers} workers {LATE} s after the change")
        shown = self.generations.wait_for(changed["metadata"]["generation"], LATE)
        if shown:
            self.samples.add("watch", max(0, shown - begin))

    def stop(self):
        """Stop after the current operation."""
        self.over.set()
