"""The hostile tenant: what it has, and how it asks."""

import itertools
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import bodies
from servers import Registry, Scheduler
from support.api_server import OPENER, api_server
from support.waiting import until

#: Its namespaces, by what is in them: policies that misbehave when they are told to; as many slow ones as there may be; nothing that
#: decides; nothing that the webhook is asked about, as where there is none.
NAMESPACES = ("policies", "slow", "plain", "unasked")
#: Rounds of the policy's loop by which its speed is measured.
ROUNDS = 100_000_000
JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}


def unverified():
    """Trusts whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Counts:
    """How often each attack was tried, and what came of it."""

    def __init__(self, names):
        self.lock = threading.Lock()
        self.found = {name: {"tries": 0, "refused": 0, "failed": 0} for name in names}

    def add(self, name, outcome=None):
        """A try, and how it ended where that was not well."""
        with self.lock:
            self.found[name]["tries"] += 1
            if outcome:
                self.found[name][outcome] += 1


class Hostile:
    """The tenant, and what it attacks with."""

    def __init__(self, place):
        self.place = place
        self.namespaces = place["namespaces"]
        self.server = api_server(place["kubeconfig"], place["path"])
        self.over = threading.Event()
        self.numbers = itertools.count()
        self.policy = Path(place["policy"]).read_bytes()
        self.scheduler = Scheduler(place["host"])
        self.registry = Registry(place["host"], place["registry"]["port"], place["registry"]["certificate"])
        #: What a slow policy is told.
        self.slowly = f"rounds-{ROUNDS}"

    def url(self, resource, within, name="", **query):
        """Of a resource in one of its namespaces."""
        path = self.server.resource(resource).path(self.namespaces[within])
        return f"{self.server.url}{path}{f'/{name}' if name else ''}{f'?{urllib.parse.urlencode(query)}' if query else ''}"

    def send(self, method, url, body=None, headers=None):
        """Ask the API server; how that ended where it was not well."""
        request = urllib.request.Request(url, body, headers or {}, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                answer.read()
            return None
        except urllib.error.HTTPError as error:
            return "refused" if error.code < 500 else "failed"
        except OSError:
            return "failed"

    def create(self, resource, within, manifest, **query):
        """Make an object, of a manifest or its text."""
        body = manifest if isinstance(manifest, bytes) else bodies.text(manifest)
        return self.send("POST", self.url(resource, within, **query), body, JSON)

    def patch(self, resource, within, name, change):
        """Change an object."""
        return self.send("PATCH", self.url(resource, within, name), bodies.text(change), MERGE)

    def delete_all(self, resource, within, label):
        """Delete all objects with this label at once."""
        return self.send("DELETE", self.url(resource, within, labelSelector=label))

    def touched(self, **spec):
        """A change of an object that is another one each time."""
        return {"metadata": {"annotations": {"example.com/number": str(next(self.numbers))}}, **({"spec": spec} if spec else {})}

    def await_pods(self, within, count):
        """Wait until there are so many pods."""
        until(lambda: len(self.server.list("pods", self.namespaces[within])) >= count, f"{count} pods of {within}")

    def await_policies(self, within, prefix, count):
        """Wait until so many policies are in force, even if they fail in operation already."""
        def in_force():
            plugins = self.server.list("daskplugins", self.namespaces[within])
            digests = [found.get("status", {}).get("digest") for found in plugins if found["metadata"]["name"].startswith(prefix)]
            assert len(digests) == count and all(digests), [found.get("status") for found in plugins]
            return True

        until(in_force, f"{count} policies of {within} to be in force")
