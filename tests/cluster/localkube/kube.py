"""A small Kubernetes client with the standard library only: JSON requests with a client certificate."""

import contextlib
import http.client
import json
import ssl
import time
import urllib.parse

#: Seconds after which an idle connection is not reused. The API server closes it after 90 seconds
#: (`IdleTimeout` in k8s.io/apiserver), and a request that is sent at that moment gets no response.
IDLE = 30


class ApiError(Exception):
    """An error response of the API server, with its status code and message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """A connection to a cluster's API server."""

    def __init__(self, cluster, identity="admin", timeout=10.0):
        self.cluster, self.timeout = cluster, timeout
        pki = cluster.path("pki")
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(str(pki / f"{identity}.crt"), str(pki / f"{identity}.key"))
        self.connection = None
        self.used = 0.0

    def text(self, method, path, body=None, content_type="application/json"):
        """Send a request and return the text of the response. Raises :class:`ApiError` or ``OSError``."""
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self.used > IDLE:
            self.close()
        try:
            if self.connection is None:
                address = urllib.parse.urlsplit(self.cluster.server)
                self.connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=self.timeout, context=self.context)
            self.connection.request(method, path, body=data, headers={"Content-Type": content_type, "Accept": "application/json"})
            response = self.connection.getresponse()
            content = response.read().decode(errors="replace")
            self.used = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"{self.cluster.server} does not respond: {error}") from error
        if response.status >= 400:
            with contextlib.suppress(ValueError, AttributeError):
                content = json.loads(content).get("message", content)
            raise ApiError(response.status, content)
        return content

    def request(self, method, path, body=None, content_type="application/json"):
        """Send a JSON request and return the JSON of the response. Raises :class:`ApiError` or ``OSError``."""
        return json.loads(self.text(method, path, body, content_type))

    def get(self, path):
        """Read an object or a list."""
        return self.request("GET", path)

    def apply(self, path, manifest):
        """Create or update an object by server-side apply. The media type is YAML, of which JSON is a subset."""
        query = urllib.parse.urlencode({"fieldManager": "local-kubernetes", "force": "true"})
        return self.request("PATCH", f"{path}?{query}", manifest, "application/apply-patch+yaml")

    def ready(self):
        """Return whether ``/readyz`` succeeds."""
        try:
            return self.text("GET", "/readyz") == "ok"
        except (OSError, ApiError):
            return False

    def close(self):
        """Close the connection. The next request opens a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
