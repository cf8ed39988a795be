"""Behaviour of the operator towards a hostile registry."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from plugins.conftest import digest


class HostileRegistry(ThreadingHTTPServer):
    """Registry without TLS. The name of the repository selects the attack. After :meth:`become_benign` it serves its component."""

    daemon_threads = True

    def __init__(self, component):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_port}"
        self.component = component
        self.is_benign = False
        self.paths = []

    def become_benign(self):
        """Makes the registry serve all requests correctly from now on."""
        self.is_benign = True


class Handler(BaseHTTPRequestHandler):
    """Handler of one request."""

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        """Sends a complete response."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def endless(self, status):
        """Sends a body that does not end until the client disconnects."""
        self.send_response(status)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" " * (1 << 16))
        except OSError:
            pass

    def manifest(self):
        """Manifest of an image with the component."""
        layer = {"mediaType": "application/wasm", "digest": digest(self.server.component), "size": len(self.server.component)}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [layer],
                    "config": {"mediaType": "application/vnd.wasm.config.v0+json", "size": 2,
                               "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest()}}
        return json.dumps(manifest).encode()

    def do_GET(self):
        server, repository = self.server, self.path.split("/")[2] if self.path.startswith("/v2/") else ""
        server.paths.append(self.path)
        if server.is_benign:
            self.answer(200, server.component if "/blobs/" in self.path else self.manifest())
        elif self.path.startswith("/token"):
            self.answer(200, b'{"token": "a\\nb"}')
        elif repository == "token":
            self.answer(401, WWW_Authenticate=f'Bearer realm="http://{server.address}/token"')
        elif repository == "elsewhere":
            self.answer(401, WWW_Authenticate='Bearer realm="http://169.254.169.254/latest/meta-data"')
        elif repository == "redirect":
            self.answer(307, Location="https://169.254.169.254/latest/meta-data")
        elif repository == "manifest":
            self.endless(200)
        else:
            self.endless(500)


@pytest.fixture
def hostile_registry(built):
    """Hostile registry that runs."""
    with HostileRegistry(built["scripted"]) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_hostile_registry_is_reported_and_retried(kubectl, start, plugins, built, hostile_registry):
    start("--allow-tenant-plugin-source", "*", namespace=kubectl.namespace)
    reasons = {"token": "RegistryError", "elsewhere": "AuthHostNotAllowed", "redirect": "RedirectNotAllowed",
               "manifest": "TooLarge", "error": "RegistryError"}
    for name in reasons:
        image = f"{hostile_registry.address}/{name}/policy:1"
        plugins.apply(name, {"oci": {"image": image, "insecure": True}}, digest=digest(built["scripted"]))
    for name, reason in reasons.items():
        condition = plugins.ready(name, "False")
        assert condition["reason"] == reason, condition
        assert len(condition["message"]) < 2000, condition
    # The operator retries each of them.
    hostile_registry.become_benign()
    for name in reasons:
        plugins.ready(name, timeout=180)
