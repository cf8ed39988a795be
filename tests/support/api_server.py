"""Direct client of the API server.

Tests poll objects several times a second. A kubectl process for each poll caused most of the load of the test machine.
Therefore one `kubectl proxy` runs, which does the authentication, and each poll is an HTTP request to it.
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

#: Media type of the discovery document that describes all API groups in one response.
DISCOVERY = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList"
#: URL opener that ignores the environment's HTTP proxies, so that requests go to `kubectl proxy` directly.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: Timeout of a request in seconds.
TIMEOUT = 60


class Refused(Exception):
    """The API server or kubectl refused a request; the text is its error message."""


class Resource(NamedTuple):
    """A resource from the discovery document."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    #: Names of the resource in lower case: plural, kind and short names.
    names: frozenset

    def path(self, namespace):
        """Return the path of the collection, within ``namespace`` if the resource is namespaced."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        within = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{root}{within}/{self.plural}"


class ApiServer:
    """Client of the API server of a kubeconfig, with that kubeconfig's user, through the kubectl on ``path`` (a PATH)."""

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
        """Stop the proxy."""
        self.proxy.terminate()
        self.proxy.wait()

    def read(self, path, accept="application/json"):
        """Return the JSON at a path, or None if the server answers 404."""
        return self.send(urllib.request.Request(self.url + path, headers={"Accept": accept}))

    def create(self, path, body, warnings=None):
        """POST an object to a path, nulls included, as clients other than kubectl do, and return the stored object.

        The response's warning headers are appended to the list ``warnings``.
        """
        made = self.send(urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}), warnings=warnings)
        if made is None:
            raise Refused(f"{path}: there is no such resource")
        return made

    def delete(self, resource, namespace, name):
        """Delete an object without a grace period."""
        path = f"{self.resource(resource).path(namespace)}/{name}?gracePeriodSeconds=0"
        return self.send(urllib.request.Request(self.url + path, method="DELETE"))

    def send(self, request, attempts=10, warnings=None):
        """Send a request and return the JSON of the response, or None on 404.

        Retries after 429 (Too Many Requests) and waits for ``Retry-After``, as kubectl does.
        """
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
                return self.send(request, attempts - 1, warnings)
            raise Refused(f"{path}: {error.code} {message(error.read().decode(errors='replace'))}") from error
        except OSError as error:
            raise Refused(f"{path}: {error}") from error

    def resource(self, name):
        """Return the first resource with this plural, short name or kind, as kubectl does. Refreshes discovery if there is none."""
        name = name.lower()
        for attempt in ("cached", "discovered"):
            if attempt == "discovered":
                self.known = [resource for root in ("/api", "/apis") for resource in resources(self.read(root, DISCOVERY))]
            found = next((resource for resource in self.known if name in resource.names), None)
            if found:
                return found
        raise Refused(f"the server doesn't have a resource type {name!r}")

    def get(self, resource, namespace, name):
        """Return an object, or None if it does not exist."""
        return self.read(f"{self.resource(resource).path(namespace)}/{name}")

    def list(self, names, namespace, selector=""):
        """Return the objects of comma-separated resources that match a label selector, in the server's order (by name)."""
        objects = []
        for resource in map(self.resource, names.split(",")):
            query = f"?{urllib.parse.urlencode({'labelSelector': selector})}" if selector else ""
            found = self.read(resource.path(namespace) + query)
            if found is None:
                raise Refused(f"the server doesn't have {resource.plural} any more")
            # Items of a list have no apiVersion and kind.
            objects += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in found["items"]]
        return objects


def message(answer):
    """Return the ``message`` of a Status response, or the whole text of any other response."""
    try:
        return json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        return answer.strip()


def resources(discovery):
    """Yield the resources of a discovery document."""
    for group in discovery["items"]:
        for version in group["versions"]:
            api_version = "/".join(filter(None, [group["metadata"].get("name"), version["version"]]))
            for resource in version.get("resources", []):
                kind = resource["responseKind"]["kind"]
                names = frozenset([resource["resource"], kind.lower(), *resource.get("shortNames", [])])
                yield Resource(api_version, kind, resource["resource"], resource["scope"] == "Namespaced", names)


@functools.cache
def api_server(kubeconfig, path):
    """Return the :class:`ApiServer` of a kubeconfig, created once per process."""
    return ApiServer(kubeconfig, path)
