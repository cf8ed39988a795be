"""The operator as a process of this machine with its admission webhook, and the webhook configurations that call it."""

import json
import socket
import ssl
import subprocess
from contextlib import contextmanager

from support import chart
from support.cluster import ROOT
from support.operator import Operator

API = "kubernetes.dask.org"
PLUGINS = ["daskplugins", "clusterdaskplugins"]
#: Subresources that `kubectl scale` writes.
SCALES = ["daskclusters/scale", "daskworkergroups/scale"]
RESOURCES = ["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"]
LABEL = "webhook-test"


def unverified():
    """Return a TLS context for a client of the webhook that does not verify the server."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def free_port(host):
    """Return an unused port of a host address."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def configurations(name, label, host, port):
    """Return the mutating and the validating webhook configuration, for namespaces with the label ``webhook-test: <label>``."""
    entry = {
        "namespaceSelector": {"matchLabels": {LABEL: label}},
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 10,
    }

    def configuration(kind, step, resources):
        rule = {"apiGroups": [API], "apiVersions": ["v1"], "resources": resources, "operations": ["CREATE", "UPDATE"]}
        url = {"url": f"https://{host}:{port}/{step}"}
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
                "webhooks": [{**entry, "rules": [rule], "name": f"{step}.{API}", "clientConfig": url}]}

    return [configuration("MutatingWebhookConfiguration", "mutate", RESOURCES),
            configuration("ValidatingWebhookConfiguration", "validate", [*RESOURCES, *SCALES, *PLUGINS])]


class Hook:
    """An operator with a release's permissions whose webhook the API server calls.

    Leaving the ``with`` block stops the operator and deletes the configurations.
    """

    def __init__(self, admin, host, folder, label, account, *arguments):
        self.admin = admin
        self.label = label
        #: Name of the configurations. The account may change only configurations of this name and only this Secret.
        self.name = f"{account.name}-{account.name}"
        self.namespace, self.secret = account.name, f"{account.name}-webhook"
        self.host, self.port = host, free_port(host)
        self.configurations = configurations(self.name, label, host, self.port)
        self.operator = Operator(account.environment, folder, *account.lease(),
                                 "--webhook", f"{host}:{self.port}", "--webhook-host", host,
                                 "--webhook-service", f"{self.namespace}/{self.secret}", "--webhook-secret", self.secret,
                                 "--webhook-configuration", self.name, *arguments)

    def ask_for(self, kubectl):
        """Label a namespace so that the API server calls the webhook for requests in it."""
        self.admin("label", "namespace", kubectl.namespace, f"{LABEL}={self.label}")

    def configure(self):
        """Create the webhook configurations."""
        self.admin.apply(*self.configurations)

    def unconfigure(self):
        """Delete the webhook configurations."""
        for configuration in self.configurations:
            self.admin("delete", configuration["kind"], self.name, "--ignore-not-found")

    def certificates(self):
        """Return the Secret with the certificates."""
        return json.loads(self.admin("get", "secret", self.secret, "--namespace", self.namespace, "--output", "json"))

    def bundle(self):
        """Return the CA bundle that the API server trusts, base64-encoded; empty if none is set."""
        text = self.admin("get", "validatingwebhookconfiguration", self.name, "--output", "json")
        return json.loads(text)["webhooks"][0]["clientConfig"].get("caBundle", "")

    def __enter__(self):
        self.configure()
        try:
            self.operator.start()
        except BaseException:
            self.unconfigure()
            raise
        return self

    def __exit__(self, *_):
        self.unconfigure()
        self.operator.stop()


@contextmanager
def hook(admin, host, folder, label, *arguments):
    """Provide a :class:`Hook` with the permissions of a release, and check at the end that no request was forbidden."""
    with chart.account(admin, folder) as account, Hook(admin, host, folder, label, account, *arguments) as hook:
        yield hook
        assert hook.operator.missing_rights() == [], "the chart does not grant all permissions that the operator uses"


def component(name, crate=None):
    """Build a plugin component and return its path; without ``crate``, that of an example.

    The target directory is that of the default plugins, because their dependencies are compiled there already.
    """
    out = ROOT / "target" / "plugins"
    build = ["target/debug/dask-operator-plugin-build", "--out", out, crate or f"plugins/examples/{name}"]
    done = subprocess.run(build, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / f"{name}.wasm"


def warnings(kubectl, *objects):
    """Apply objects and return kubectl's warnings."""
    done = subprocess.run(["kubectl", "--namespace", kubectl.namespace, "apply", "--filename", "-"], text=True,
                          input="\n---\n".join(map(json.dumps, objects)), env=kubectl.environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("Warning: ") for line in done.stderr.splitlines() if line.startswith("Warning: ")]
