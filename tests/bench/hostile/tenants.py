"""Well-behaved tenants: what each sees of the operator while it works."""

import json
import random
import threading
import time
import urllib.parse
import urllib.request

from support.api_server import OPENER, Refused
from support.manifests import cluster

#: Of each tenant's.
CLUSTER = "mine"
MERGE = {"Content-Type": "application/merge-patch+json"}
#: Seconds after which nothing comes of an update any more.
LATE = 60
WORKERS = "dask.org/component=worker"


class Pods(threading.Thread):
    """The workers of a namespace, as a watch tells of them."""

    def __init__(self, server, namespace):
        super().__init__(daemon=True)
        query = urllib.parse.urlencode({"watch": "1", "labelSelector": WORKERS, "timeoutSeconds": 3600})
        self.request = urllib.request.Request(f"{server.url}/api/v1/namespaces/{namespace}/pods?{query}")
        self.changed = threading.Condition()
        self.there = set()

    def run(self):
        while True:
            with self.changed:
                self.there = set()
            try:
                with OPENER.open(self.request) as events:
                    for line in events:
                        self.saw(json.loads(line))
            except (OSError, ValueError):  # it broke, and begins anew with all that there is
                time.sleep(0.1)

    def saw(self, event):
        """Take an event in."""
        metadata = event["object"].get("metadata", {})
        goes = event["type"] == "DELETED" or "deletionTimestamp" in metadata
        with self.changed:
            (self.there.discard if goes else self.there.add)(metadata.get("uid"))
            self.changed.notify_all()

    def wait_for(self, count, seconds):
        """Wait until there are so many; whether that came true."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.there) == count, seconds)


class Tenant(threading.Thread):
    """A tenant who changes a cluster every few seconds."""

    def __init__(self, kubectl, samples, period):
        super().__init__(daemon=True)
        self.kubectl, self.samples, self.period = kubectl, samples, period
        self.server = kubectl.server()
        self.pods = Pods(self.server, kubectl.namespace)
        self.over = threading.Event()
        resource = self.server.resource("daskclusters")
        self.cluster = f"{self.server.url}{resource.path(kubectl.namespace)}/{CLUSTER}"
        self.control = f"{self.server.url}/api/v1/namespaces/{kubectl.namespace}/configmaps/{CLUSTER}"

    def prepare(self):
        """Have a cluster of one worker, and a ConfigMap beside it."""
        control = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLUSTER}, "data": {"a": "b"}}
        self.kubectl.apply(cluster(CLUSTER, 1), control)
        self.pods.start()

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
            self.change(1 + number % 2)

    def ask(self, kind, url, patch, dry=False):
        """Change an object, or ask whether that would do; note how long it took. Whether it did."""
        request = urllib.request.Request(url + ("?dryRun=All" if dry else ""), json.dumps(patch).encode(), MERGE, method="PATCH")
        begin = time.monotonic()
        try:
            # None is an object that is not there.
            done = self.server.ask(request) is not None
        except Refused as error:
            self.samples.problem(f"{self.kubectl.namespace}: {error}"[:300])
            return False
        if kind:
            self.samples.add(kind, time.monotonic() - begin)
        return done

    def change(self, workers):
        """Want another number of workers, and note how long it takes from the answer until they are there."""
        if not self.ask(None, self.cluster, {"spec": {"worker": {"replicas": workers}}}):
            return
        begin = time.monotonic()
        if self.pods.wait_for(workers, LATE):
            self.samples.add("reconcile", time.monotonic() - begin)
        else:
            self.samples.problem(f"{self.kubectl.namespace}: there were not {workers} workers {LATE} s after they were wanted")

    def stop(self):
        """Let it end with what it is at."""
        self.over.set()
