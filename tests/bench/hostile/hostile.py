"""The hostile tenant: its namespaces, servers and requests to the API server."""

import itertools
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import bodies
from servers import Registry, Scheduler
from support.api_server import OPENER, api_server
from support.waiting import until

#: The tenant's namespaces: "policies" has policies that misbehave as instructed, "slow" the maximum number of slow policies, "plain"
#: no active policies. "exempt" has no webhook.
NAMESPACES = ("policies", "slow", "plain", "exempt")
#: Number of rounds of the policy's loop with which its speed is measured.
ROUNDS = 100_000_000
JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}


class Counts:
    """Numbers of tries, refusals and failures of each attack."""

    def __init__(self, names):
        self.lock = threading.Lock()
        self.found = {name: {"tries": 0, "refused": 0, "failed": 0} for name in names}

    def add(self, name, outcome=None):
        """Count a try. ``outcome`` is "refused", "failed", or None for a success."""
        with self.lock:
            self.found[name]["tries"] += 1
            if outcome:
                self.found[name][outcome] += 1


class Hostile:
    """The hostile tenant with its servers. ``target`` is the JSON description of what it attacks."""

    def __init__(self, target):
        self.target = target
        self.namespaces = target["namespaces"]
        self.server = api_server(target["kubeconfig"], target["path"])
        self.over = threading.Event()
        self.numbers = itertools.count()
        self.policy = Path(target["policy"]).read_bytes()
        self.scheduler = Scheduler(target["host"])
        self.registry = Registry(target["host"], target["registry"]["port"], target["registry"]["certificate"])
        #: Behaviour that makes the policy slow.
        self.slow = f"rounds-{ROUNDS}"

    def url(self, resource, within, name="", **query):
        """Return the URL of a resource in one of the tenant's namespaces."""
        path = self.server.resource(resource).path(self.namespaces[within])
        return f"{self.server.url}{path}{f'/{name}' if name else ''}{f'?{urllib.parse.urlencode(query)}' if query else ''}"

    def send(self, method, url, body=None, headers=None):
        """Send a request to the API server, and return "refused", "failed", or None for a success."""
        request = urllib.request.Request(url, body, headers or {}, method=method)
        try:
            with OPENER.open(request, timeout=60) as response:
                response.read()
            return None
        except urllib.error.HTTPError as error:
            return "refused" if error.code < 500 else "failed"
        except OSError:
            return "failed"

    def create(self, resource, within, manifest, **query):
        """Create an object from a manifest or its JSON, and return the outcome as :meth:`send` does."""
        body = manifest if isinstance(manifest, bytes) else bodies.text(manifest)
        return self.send("POST", self.url(resource, within, **query), body, JSON)

    def patch(self, resource, within, name, change):
        """Change an object by a merge patch, and return the outcome as :meth:`send` does."""
        return self.send("PATCH", self.url(resource, within, name), bodies.text(change), MERGE)

    def delete_all(self, resource, within, label):
        """Delete all objects with a label by one request, and return the outcome as :meth:`send` does."""
        return self.send("DELETE", self.url(resource, within, labelSelector=label))

    def touched(self, **spec):
        """Return a merge patch that differs each time: an annotation with a number and, if given, fields of the spec."""
        return {"metadata": {"annotations": {"example.com/number": str(next(self.numbers))}}, **({"spec": spec} if spec else {})}

    def await_pods(self, within, count):
        """Wait until a namespace has at least ``count`` pods."""
        until(lambda: len(self.server.list("pods", self.namespaces[within])) >= count, f"{count} pods of {within}")

    def await_policies(self, within, prefix, count):
        """Wait until ``count`` policies are active, even if some already fail in operation."""
        def active():
            plugins = self.server.list("daskplugins", self.namespaces[within])
            digests = [found.get("status", {}).get("digest") for found in plugins if found["metadata"]["name"].startswith(prefix)]
            assert len(digests) == count and all(digests), [found.get("status") for found in plugins]
            return True

        until(active, f"{count} policies of {within} to be active")
