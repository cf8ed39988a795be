"""An OCI registry on this machine with TLS and a password, and a client that pushes components to it."""

import base64
import hashlib
import json
import ssl
import subprocess
import urllib.error
import urllib.request

import bcrypt
import trustme

from support import programs
from support.waiting import until

ADDRESS = "127.0.0.1:5443"
USER, PASSWORD = "puller", "open sesame"


class Registry:
    """A registry process; leaving the ``with`` block stops it."""

    def __init__(self, folder, address=ADDRESS):
        self.folder = folder
        self.address = address
        self.process = None
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.other_ca = folder / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(self.other_ca)
        password = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
        (folder / "htpasswd").write_text(f"{USER}:{password}\n")
        (folder / "registry.yaml").write_text(f"""version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
http: {{addr: "{address}", tls: {{certificate: {folder}/server.pem, key: {folder}/server.pem}}}}
""")

    def start(self):
        """Start the registry, and wait until it responds."""
        with (self.folder / "registry.log").open("a") as log:
            self.process = subprocess.Popen([programs.path("docker-registry"), "serve", self.folder / "registry.yaml"], stdout=log, stderr=log)

        def responds():
            try:
                self.send("GET", "/v2/")
                return True
            except OSError:
                return False
        until(responds, "the registry to respond")

    def stop(self):
        """Stop the registry."""
        self.process.terminate()
        self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def send(self, method, path, body=None, content_type="application/octet-stream"):
        """Send an authenticated request and return the response headers."""
        url = path if path.startswith("https:") else f"https://{self.address}{path}"
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(url, data=body, method=method,
                                         headers={"Authorization": f"Basic {login}", "Content-Type": content_type})
        trusted = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
            return answer.headers

    def blob(self, repository, content):
        """Upload a blob and return the digest and size of its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        location = self.send("POST", f"/v2/{repository}/blobs/uploads/", b"")["Location"]
        self.send("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)
        return {"digest": digest, "size": len(content)}

    def push(self, repository, tag, content, layer="application/wasm"):
        """Push a component in the format of other tools, and return the digest of its manifest."""
        config = {"mediaType": "application/vnd.wasm.config.v0+json", **self.blob(repository, b"{}")}
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [{"mediaType": layer, **self.blob(repository, content)}],
        }).encode()
        self.send("PUT", f"/v2/{repository}/manifests/{tag}", manifest, "application/vnd.oci.image.manifest.v1+json")
        return "sha256:" + hashlib.sha256(manifest).hexdigest()

    def secret(self, name, password=PASSWORD):
        """Return an image pull Secret with credentials for this registry."""
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        config = json.dumps({"auths": {self.address: {"auth": auth}}})
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}}
