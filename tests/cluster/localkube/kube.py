"""A small Kubernetes client on the standard library: JSON requests with the administrator's certificate."""

import contextlib
import http.client
import json
import ssl
import time
import urllib.parse

#: Seconds after which a connection that was not used is not used again. The API server closes it after 90
#: (`IdleTimeout` in k8s.io/apiserver), and who asks at that moment gets no answer.
IDLE = 30


class ApiError(Exception):
    """The API server's refusal, with its status code and message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """One connection to a cluster's API server."""

    def __init__(self, cluster, identity="admin", timeout=10.0):
        self.cluster, self.timeout = cluster, timeout
        pki = cluster.path("pki")
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(str(pki / f"{identity}.crt"), str(pki / f"{identity}.key"))
        self.connection = None
        self.used = 0.0

    def text(self, method, path, body=None, content_type="application/json"):
        """Send a request, return the answer's text; raises :class:`ApiError` or ``OSError``."""
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self.used > IDLE:
            self.close()
        try:
            if self.connection is None:
                address = urllib.parse.urlsplit(self.cluster.server)
                self.connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=self.timeout, context=self.context)
            self.connection.request(method, path, body=data, headers={"Content-Type": content_type, "Accept": "application/json"})
            response = self.connection.getresponse()
            answer = response.read().decode(errors="replace")
            self.used = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"{self.cluster.server} does not answer: {error}") from error
        if response.status >= 400:
            with contextlib.suppress(ValueError, AttributeError):
                answer = json.loads(answer).get("message", answer)
            raise ApiError(response.status, answer)
        return answer

    def request(self, method, path, body=None, content_type="application/json"):
        """The same with JSON both ways."""
        return json.loads(self.text(method, path, body, content_type))

    def get(self, path):
        """Read an object or a list."""
        return self.request("GET", path)

    def apply(self, path, manifest):
        """Server-side apply: the object becomes as said, whether it existed or not. JSON is YAML."""
        query = urllib.parse.urlencode({"fieldManager": "local-kubernetes", "force": "true"})
        return self.request("PATCH", f"{path}?{query}", manifest, "application/apply-patch+yaml")

    def ready(self):
        """Whether the API server says that it is ready."""
        try:
            return self.text("GET", "/readyz") == "ok"
        except (OSError, ApiError):
            return False

    def close(self):
        """Drop the connection; the next request makes a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
