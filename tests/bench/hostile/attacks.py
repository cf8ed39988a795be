"""The hostile tenant: attacks.py FILE, whose JSON says where to attack. A process of its own, so that it takes no turns from who measures.

It has the rights of ``admin`` in its namespace, and can reach the webhook's port as every pod can. It attacks until its standard
input ends, and prints how often it did what.
"""

import base64
import http.client
import itertools
import json
import os
import socket
import ssl
import string
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from servers import Registry, Scheduler
from support.api_server import OPENER, api_server
from support.manifests import API, changed, cluster
from support.waiting import until

#: What the policy of ``policy/`` is told to do at admission, and when plans are reviewed.
AT_ADMISSION = ("loop", "memory", "slow", "trap", "copies", "depth", "objects", "findings", "large")
AT_REVIEW = ("loop", "memory", "slow", "trap", "findings", "large")
#: How many policies a request has to pass, each of them as slow as it may be.
CHAIN = 3
#: Resources after whose admission a policy is on trial no more, and some.
TRIED = 5
FIELDS = 200_000
#: Connections to the webhook that say nothing, at a time.
SILENT = 500
#: Where strangers come from: not from the API server's address, which is this machine's as well.
STRANGER = ("127.0.0.2", 0)
#: A ConfigMap holds a component of this size at most.
CONFIG_MAP = 1_000_000
JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}


def unknown_fields(count=FIELDS):
    """A DaskCluster with that many fields of a pod spec that nobody knows."""
    names = itertools.islice(itertools.product(string.ascii_lowercase, repeat=4), count)
    spec = {"".join(name): 0 for name in names}
    made = cluster("unknown-fields", 0)
    made["spec"]["worker"]["spec"] = {**spec, **made["spec"]["worker"]["spec"]}
    return made


def review_bomb(size=4 << 20):
    """An AdmissionReview of nearly this many bytes, of very many small objects."""
    objects = ",".join(['{"":0}'] * ((size - 4096) // 7))
    spec = f'{{"a":[{objects}]}}'
    kind = '{"group":"kubernetes.dask.org","version":"v1","kind":"DaskCluster"}'
    resource = '{"group":"kubernetes.dask.org","version":"v1","resource":"daskclusters"}'
    return (f'{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"0","kind":{kind},"resource":{resource},'
            '"name":"bomb","namespace":"default","operation":"CREATE","userInfo":{"username":"nobody"},'
            f'"object":{{"apiVersion":"{API}","kind":"DaskCluster","metadata":{{"name":"bomb","namespace":"default"}},"spec":{spec}}}}}}}'
            ).encode()


class Counts:
    """How often each attack was tried, and what came of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.found = {}

    def add(self, name, outcome=None):
        """A try, and how it ended where that was not well."""
        with self.lock:
            counts = self.found.setdefault(name, {"tries": 0, "refused": 0, "failed": 0})
            counts["tries"] += 1
            if outcome:
                counts[outcome] += 1


class Hostile:
    """The tenant."""

    def __init__(self, place):
        self.place = place
        self.namespace = place["namespace"]
        self.server = api_server(place["kubeconfig"], place["path"])
        self.counts = Counts()
        self.over = threading.Event()
        self.numbers = itertools.count()
        self.fields = json.dumps(unknown_fields()).encode()
        self.bomb = review_bomb()
        self.scheduler = Scheduler(place["host"])
        self.registry = Registry(place["host"], place["registry"]["port"], place["registry"]["certificate"])

    # What it has --------------------------------------------------------------

    def prepare(self):
        """Have its plugins and clusters there. The policies must be in force: they misbehave only when they are told to."""
        # Afterwards, the policies would fail when these are admitted.
        for behaviour in AT_REVIEW:
            self.create("daskclusters", told(f"plan-{behaviour}", "example.com/at-review", behaviour))
        until(lambda: len(self.server.list("pods", self.namespace)) >= len(AT_REVIEW), "the schedulers of the hostile tenant's clusters")
        policy = Path(self.place["policy"]).read_bytes()
        self.create("configmaps", config_map("policy", policy))
        for number in range(CHAIN):
            self.create("daskplugins", plugin(f"policy-{number}", {"configMap": {"name": "policy", "key": "plugin.wasm"}}))
        until(self.in_force, "the hostile policies to be in force")
        # Policies that have decided about some resources are on trial no more.
        for number in range(TRIED):
            self.create("daskclusters", cluster(f"tried-{number}", 0))
        until(lambda: len(self.server.list("pods", self.namespace)) >= len(AT_REVIEW) + TRIED, "clusters that the hostile policies let through")
        for repository in Registry.REPOSITORIES:
            image = f"{self.registry.address}/hostile/{repository}/plugin:1"
            self.create("daskplugins", plugin(f"registry-{repository}", {"oci": {"image": image}}, refreshSeconds=10))
        # The last, because a namespace may have a limited number.
        for component in sorted(Path(self.place["components"]).glob("*.wasm")):
            if component.stat().st_size < CONFIG_MAP:
                self.create("configmaps", config_map(component.stem, component.read_bytes()))
                self.create("daskplugins", plugin(component.stem, {"configMap": {"name": component.stem, "key": "plugin.wasm"}}))
        asked = changed(cluster("asked", 0), "spec.idleTimeout", 3600)
        asked["spec"]["scheduler"]["service"].update(clusterIP="None", ports=[
            {"name": "tcp-comm", "port": self.scheduler.port}, {"name": "http-dashboard", "port": 8787}])
        self.create("daskclusters", asked)

    def create(self, resource, manifest):
        """Make an object; what is refused, as a plugin that can never be in force, is no matter."""
        self.send("prepare", "POST", self.url(resource), json.dumps(manifest).encode(), JSON)

    def in_force(self):
        """Whether all policies are."""
        plugins = self.server.list("daskplugins", self.namespace)
        ready = [condition["status"] for found in plugins if found["metadata"]["name"].startswith("policy-")
                 for condition in found["status"]["conditions"] if condition["type"] == "Ready"]
        assert ready == ["True"] * CHAIN, [found.get("status") for found in plugins]
        return True

    def url(self, resource, name="", query=""):
        """Of a resource in its namespace."""
        path = self.server.resource(resource).path(self.namespace)
        return f"{self.server.url}{path}{f'/{name}' if name else ''}{f'?{query}' if query else ''}"

    def send(self, attack, method, url, body=None, headers=None):
        """A request to the API server, counted."""
        request = urllib.request.Request(url, body, headers or {}, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                answer.read()
            self.counts.add(attack)
        except urllib.error.HTTPError as error:
            self.counts.add(attack, "refused" if error.code < 500 else "failed")
        except OSError:
            self.counts.add(attack, "failed")

    # What it does -------------------------------------------------------------

    def at_admission(self):
        """Resources that its policies are asked about."""
        for behaviour in AT_ADMISSION:
            manifest = told(f"ask-{behaviour}", "example.com/at-admission", behaviour)
            self.send(f"policy at admission: {behaviour}", "POST", self.url("daskclusters", query="dryRun=All"), json.dumps(manifest).encode(), JSON)

    def at_review(self):
        """Resources whose plans its policies review. They and their schedulers are changed again and again; what leaves a spec as it
        is, a policy that fails does not refuse."""
        for behaviour in AT_REVIEW:
            body = json.dumps({"metadata": {"annotations": {"example.com/number": str(next(self.numbers))}}}).encode()
            for resource, name in (("daskclusters", f"plan-{behaviour}"), ("pods", f"plan-{behaviour}-scheduler")):
                self.send(f"policy at review: {behaviour}", "PATCH", self.url(resource, name), body, MERGE)

    def fields_that_nobody_knows(self):
        """A manifest as large as the API server takes."""
        query = "dryRun=All&fieldValidation=Ignore"
        self.send(f"{FIELDS:,} unknown fields", "POST", self.url("daskclusters", query=query), self.fields, JSON)

    def flood(self):
        """Clusters that come and go."""
        name = f"flood-{next(self.numbers)}"
        self.send("flood: created", "POST", self.url("daskclusters"), json.dumps(cluster(name, 0)).encode(), JSON)
        self.send("flood: deleted", "DELETE", self.url("daskclusters", name))

    def reload(self):
        """Plugins that are changed, so that they are fetched, compiled and tried again. Not the policies, which would be taken back."""
        plugins = [found["metadata"]["name"] for found in self.server.list("daskplugins", self.namespace)]
        for name in plugins:
            if not name.startswith("policy-"):
                body = json.dumps({"spec": {"limits": {"milliseconds": 1000 + next(self.numbers) % 4000}}}).encode()
                self.send("plugins loaded anew", "PATCH", self.url("daskplugins", name), body, MERGE)

    def silence(self):
        """Connections to the webhook that begin a request and go no further."""
        held = []
        for _ in range(SILENT):
            try:
                connection = socket.create_connection(tuple(self.place["webhook"]), timeout=5, source_address=STRANGER)
                connection.sendall(b"\x16")
                held.append(connection)
                self.counts.add("silent connections")
            except OSError:
                self.counts.add("silent connections", "failed")
        self.over.wait(20)
        for connection in held:
            connection.close()

    def strangers(self):
        """AdmissionReviews from somebody who is no API server."""
        host, port = self.place["webhook"]
        connection = http.client.HTTPSConnection(host, port, timeout=30, context=unverified(), source_address=STRANGER)
        try:
            connection.request("POST", "/mutate?timeout=30s", self.bomb, JSON)
            answer = connection.getresponse()
            answer.read()
            self.counts.add("strangers' reviews", "refused" if answer.status >= 400 else None)
        except (OSError, http.client.HTTPException):
            self.counts.add("strangers' reviews", "failed")
        finally:
            connection.close()

    def run(self):
        """Do all of it until the standard input ends."""
        # What, in how many threads, and the pause after it: more would only show how fast this machine is.
        for attack, threads, pause in [(self.at_admission, 4, 0.2), (self.at_review, 1, 1), (self.fields_that_nobody_knows, 2, 2),
                                       (self.flood, 2, 0.1), (self.reload, 1, 5), (self.silence, 1, 1), (self.strangers, 2, 1)]:
            for _ in range(threads):
                threading.Thread(target=self.repeat, args=(attack, pause), daemon=True).start()
        sys.stdin.read()
        self.over.set()

    def repeat(self, attack, pause):
        """Again and again."""
        while not self.over.wait(pause):
            try:
                attack()
            except Exception as error:  # an attack that fails must not end all the others of its kind
                print(f"{attack.__name__}: {error}", file=sys.stderr, flush=True)

    def figures(self):
        """How often what was tried."""
        servers = {"a scheduler's answers": self.scheduler.tries, "a registry's answers": self.registry.tries}
        with self.counts.lock:
            found = {name: dict(counts) for name, counts in self.counts.found.items() if name != "prepare"}
        return {**found, **{name: {"tries": tries, "refused": 0, "failed": 0} for name, tries in servers.items()}}


def config_map(name, component):
    """A ConfigMap with a component."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "binaryData": {"plugin.wasm": base64.b64encode(component).decode()}}


def plugin(name, source, **spec):
    """A DaskPlugin."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": name}, "spec": {"source": source, **spec}}


def told(name, annotation, behaviour):
    """A cluster without workers whose policies are told to misbehave."""
    return cluster(name, 0, annotations={annotation: behaviour})


def unverified():
    """Trusts whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main():
    """Attack."""
    os.nice(5)
    hostile = Hostile(json.loads(Path(sys.argv[1]).read_text()))
    hostile.prepare()
    print("attacks begin", flush=True)
    hostile.run()
    print(json.dumps(hostile.figures()), flush=True)


if __name__ == "__main__":
    main()
