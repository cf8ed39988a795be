"""Well-behaved tenants: what each sees of the operator while it works."""

import http.client
import json
import random
import threading
import time
import urllib.parse
import urllib.request

from hostile import JSON, unverified
from support.api_server import OPENER, Refused
from support.manifests import cluster

#: Of each tenant's.
CLUSTER = "mine"
MERGE = {"Content-Type": "application/merge-patch+json"}
#: Seconds after which nothing comes of an update any more.
LATE = 60
WORKERS = "dask.org/component=worker"


class Watch(threading.Thread):
    """What a watch tells of the objects at a path."""

    def __init__(self, server, path, **query):
        super().__init__(daemon=True)
        query = urllib.parse.urlencode({"watch": "1", "timeoutSeconds": 3600, **query})
        self.request = urllib.request.Request(f"{server.url}{path}?{query}")
        self.changed = threading.Condition()
        self.forget()

    def forget(self):
        """Begin with nothing."""
        raise NotImplementedError

    def take_in(self, event):
        """Remember what an event says."""
        raise NotImplementedError

    def run(self):
        while True:
            try:
                with OPENER.open(self.request) as events:
                    with self.changed:
                        self.forget()
                    for line in events:
                        self.saw(json.loads(line))
            except (OSError, ValueError):  # it broke, and begins anew with all that there is
                time.sleep(0.1)

    def saw(self, event):
        """Take an event in."""
        with self.changed:
            self.take_in(event)
            self.changed.notify_all()


class Pods(Watch):
    """The workers of a namespace."""

    def __init__(self, server, namespace):
        super().__init__(server, f"/api/v1/namespaces/{namespace}/pods", labelSelector=WORKERS)

    def forget(self):
        self.there = set()

    def take_in(self, event):
        metadata = event["object"].get("metadata", {})
        goes = event["type"] == "DELETED" or "deletionTimestamp" in metadata
        (self.there.discard if goes else self.there.add)(metadata.get("uid"))

    def wait_for(self, count, seconds):
        """Wait until there are so many; whether that came true."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.there) == count, seconds)


class Generations(Watch):
    """When each generation of the only object at a path was first seen."""

    def forget(self):
        self.seen = {}

    def take_in(self, event):
        self.seen.setdefault(event["object"].get("metadata", {}).get("generation"), time.monotonic())

    def at(self, generation, seconds):
        """Wait until it is seen; when that was, or None where it took longer."""
        with self.changed:
            self.changed.wait_for(lambda: generation in self.seen, seconds)
            return self.seen.get(generation)


def review(old, number):
    """The AdmissionReview of an update of a cluster, as the API server asks for it."""
    kind = {"group": "kubernetes.dask.org", "version": "v1", "kind": old["kind"]}
    resource = {"group": "kubernetes.dask.org", "version": "v1", "resource": "daskclusters"}
    new = {**old, "spec": {**old["spec"], "idleTimeout": 3600 + number}}
    user = {"username": "system:serviceaccount:tenant:tenant", "groups": ["system:authenticated"]}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": str(number), "kind": kind, "resource": resource, "name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"],
        "operation": "UPDATE", "userInfo": user, "object": new, "oldObject": old, "dryRun": True}}


class Webhook:
    """The webhook, asked as the API server asks it, over one connection."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.connection = None

    def ask(self, body):
        """Why it does not let a request through; None where it does."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPSConnection(self.host, self.port, timeout=LATE, context=unverified(),
                                                              source_address=(self.host, 0))
            self.connection.request("POST", "/validate?timeout=10s", json.dumps(body).encode(), JSON)
            answer = self.connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                return f"{answer.status}: {said.decode(errors='replace')}"
            response = json.loads(said)["response"]
            return None if response["allowed"] else response["status"]["message"]
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            return f"no answer: {error!r}"


class Tenant(threading.Thread):
    """A tenant who changes a cluster every few seconds."""

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
        """Have a cluster of one worker, and a ConfigMap beside it."""
        control = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLUSTER}, "data": {"a": "b"}}
        self.kubectl.apply(cluster(CLUSTER, 1), control)
        self.pods.start()
        self.generations.start()
        self.old = self.server.read(self.cluster.removeprefix(self.server.url))
        # The connection is there before anything is measured.
        self.webhook.ask(review(self.old, 0))

    def is_ready(self):
        """Whether the worker is there."""
        return self.pods.wait_for(1, 0)

    def run(self):
        time.sleep(random.uniform(0, self.period))
        number = 0
        while not self.over.wait(self.period):
            number += 1
            self.ask("api", self.control, {"data": {"a": str(number)}}, dry=True)
            self.ask("admission", self.cluster, {"spec": {"idleTimeout": 3600 + number}}, dry=True)
            self.review(number)
            self.change(1 + number % 2)

    def ask(self, kind, url, patch, dry=False):
        """Change an object, or ask whether that would do; note how long it took. What it is then, or None."""
        request = urllib.request.Request(url + ("?dryRun=All" if dry else ""), json.dumps(patch).encode(), MERGE, method="PATCH")
        begin = time.monotonic()
        try:
            done = self.server.ask(request)
        except Refused as error:
            self.samples.problem(f"{self.kubectl.namespace}: {error}"[:300])
            return None
        if kind:
            self.samples.add(kind, time.monotonic() - begin)
        return done

    def review(self, number):
        """Ask the webhook without the API server about an update; note how long it took."""
        body = review(self.old, number)
        begin = time.monotonic()
        refused = self.webhook.ask(body)
        if refused:
            self.samples.problem(f"{self.kubectl.namespace}: {refused}"[:300])
        else:
            self.samples.add("webhook", time.monotonic() - begin)

    def change(self, workers):
        """Want another number of workers, and note how long it takes from the answer until they are there, and until a watch shows
        the change itself."""
        changed = self.ask(None, self.cluster, {"spec": {"worker": {"replicas": workers}}})
        if not changed:
            return
        begin = time.monotonic()
        if self.pods.wait_for(workers, LATE):
            self.samples.add("reconcile", time.monotonic() - begin)
        else:
            self.samples.problem(f"{self.kubectl.namespace}: there were not {workers} workers {LATE} s after they were wanted")
        shown = self.generations.at(changed["metadata"]["generation"], LATE)
        if shown:
            self.samples.add("watch", max(0, shown - begin))

    def stop(self):
        """Let it end with what it is at."""
        self.over.set()
