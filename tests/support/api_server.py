"""Objects, straight from the API server.

Tests look several times a second whether something has happened. A kubectl for each look was most of what a machine that
ran tests had to do, so one kubectl stays, as a proxy that knows how to get in, and looks are requests to that.
"""

import atexit
import functools
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

#: What the API server knows, all groups in one answer.
DISCOVERY = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"
#: No proxy of the environment's stands between us and ours.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: Seconds after which a request that was not answered is given up.
TIMEOUT = 60


class Refused(Exception):
    """The API server, or kubectl, did not do it; the text is its own."""


class Resource(NamedTuple):
    """A resource, as discovery tells of it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    #: What it can be called.
    names: frozenset

    def path(self, namespace):
        """The path of its objects: of a namespace, where they are in one."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        within = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{root}{within}/{self.plural}"


class ApiServer:
    """The API server that a kubeconfig names, read as that kubeconfig's user by the kubectl of a PATH."""

    def __init__(self, kubeconfig, path):
        environment = {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path}
        self.proxy = subprocess.Popen(["kubectl", "proxy", "--port", "0"], env=environment, text=True, stdout=subprocess.PIPE)
        atexit.register(self.stop)
        # "Starting to serve on 127.0.0.1:41234"
        address = self.proxy.stdout.readline().split()[-1:]
        if not address:
            raise Refused(f"kubectl proxy did not start, with {kubeconfig}")
        self.url = f"http://{address[0]}"
        self.known = []

    def stop(self):
        """End the proxy."""
        self.proxy.terminate()
        self.proxy.wait()

    def read(self, path, accept="application/json"):
        """What is at a path; None where nothing is."""
        return self.ask(urllib.request.Request(self.url + path, headers={"Accept": accept}))

    def create(self, path, body, warnings=None):
        """POST an object to a path as a client other than kubectl does, nulls included; return what is stored. What is warned of is
        added to the list ``warnings``."""
        made = self.ask(urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}), warnings=warnings)
        if made is None:
            raise Refused(f"{path}: there is no such resource")
        return made

    def delete(self, resource, namespace, name):
        """Delete an object at once."""
        path = f"{self.resource(resource).path(namespace)}/{name}?gracePeriodSeconds=0"
        return self.ask(urllib.request.Request(self.url + path, method="DELETE"))

    def ask(self, request, attempts=10, warnings=None):
        """What is answered; None where nothing is. Asks again when it is told to come back later, as kubectl does."""
        path = request.full_url.removeprefix(self.url)
        try:
            with OPENER.open(request, timeout=TIMEOUT) as answer:
                if warnings is not None:
                    warnings += answer.headers.get_all("Warning", [])
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code == 429 and attempts > 1:
                time.sleep(int(error.headers.get("Retry-After") or 1))
                return self.ask(request, attempts - 1, warnings)
            raise Refused(f"{path}: {error.code} {message(error.read().decode(errors='replace'))}") from error
        except OSError as error:
            raise Refused(f"{path}: {error}") from error

    def resource(self, name):
        """The resource of this name: plural, singular, short, or its kind. The first of several, as with kubectl."""
        name = name.lower()
        for attempt in ("known", "asked"):
            if attempt == "asked":
                self.known = [resource for root in ("/api", "/apis") for resource in resources(self.read(root, DISCOVERY))]
            found = next((resource for resource in self.known if name in resource.names), None)
            if found:
                return found
        raise Refused(f"the server doesn't have a resource type {name!r}")

    def get(self, resource, namespace, name):
        """One object, or None."""
        return self.read(f"{self.resource(resource).path(namespace)}/{name}")

    def list(self, names, namespace, selector=""):
        """All objects of resources, several with commas, that a label selector selects; in the order of their names."""
        objects = []
        for resource in map(self.resource, names.split(",")):
            query = f"?{urllib.parse.urlencode({'labelSelector': selector})}" if selector else ""
            found = self.read(resource.path(namespace) + query)
            if found is None:
                raise Refused(f"the server doesn't have {resource.plural} any more")
            # Objects in lists do not say what they are.
            objects += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in found["items"]]
        return objects


def message(answer):
    """The sentence of an answer that is no object; all of it where it has none."""
    try:
        return json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        return answer.strip()


def resources(discovery):
    """The resources of an answer of discovery."""
    for group in discovery["items"]:
        for version in group["versions"]:
            api_version = "/".join(filter(None, [group["metadata"].get("name"), version["version"]]))
            for resource in version.get("resources", []):
                kind = resource["responseKind"]["kind"]
                names = frozenset([resource["resource"], kind.lower(), *resource.get("shortNames", [])])
                yield Resource(api_version, kind, resource["resource"], resource["scope"] == "Namespaced", names)


@functools.cache
def api_server(kubeconfig, path):
    """The :class:`ApiServer` of a kubeconfig, the same for all who ask for it."""
    return ApiServer(kubeconfig, path)
