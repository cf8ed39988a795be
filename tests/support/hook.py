"""The operator with its webhook on the host, and the configurations by which the API server asks it."""

import json
import socket
import subprocess
from contextlib import contextmanager

from support import chart
from support.cluster import ROOT
from support.operator import Operator

API = "kubernetes.dask.org"
PLUGINS = ["daskplugins", "clusterdaskplugins"]
#: What `kubectl scale` writes.
SCALES = ["daskclusters/scale", "daskworkergroups/scale"]
RESOURCES = ["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"]
LABEL = "webhook-test"


def free_port(host):
    """A port of the host's address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def configurations(name, label, host, port):
    """Both webhook configurations, for namespaces that carry the label ``webhook-test: LABEL``."""
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
    """An operator with a release's rights that the API server asks; ``with`` ends it and takes the configurations away."""

    def __init__(self, admin, host, folder, label, account, *arguments):
        self.admin = admin
        self.label = label
        #: Of the configurations; the account may change those of this name, as it may the Secret.
        self.name = f"{account.name}-{account.name}"
        self.namespace, self.secret = account.name, f"{account.name}-webhook"
        self.host, self.port = host, free_port(host)
        self.configurations = configurations(self.name, label, host, self.port)
        self.operator = Operator(account.environment, folder, *account.lease(),
                                 "--webhook", f"{host}:{self.port}", "--webhook-host", host,
                                 "--webhook-service", f"{self.namespace}/{self.secret}", "--webhook-secret", self.secret,
                                 "--webhook-configuration", self.name, *arguments)

    def ask_for(self, kubectl):
        """Have requests in a namespace asked about."""
        self.admin("label", "namespace", kubectl.namespace, f"{LABEL}={self.label}")

    def configure(self):
        """Have the API server ask."""
        self.admin.apply(*self.configurations)

    def unconfigure(self):
        """Have it ask no more."""
        for configuration in self.configurations:
            self.admin("delete", configuration["kind"], self.name, "--ignore-not-found")

    def certificates(self):
        """The Secret with the certificates."""
        return json.loads(self.admin("get", "secret", self.secret, "--namespace", self.namespace, "--output", "json"))

    def bundle(self):
        """What the API server trusts."""
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
    """A :class:`Hook` with the rights of a release, to which nothing was forbidden in the end."""
    with chart.account(admin, folder) as account, Hook(admin, host, folder, label, account, *arguments) as hook:
        yield hook
        assert hook.operator.missing_rights() == [], "the chart does not allow what the operator does"


def component(name, crate=None):
    """A component, an example's if no crate is named, built where the default ones are, because the libraries are there already."""
    out = ROOT / "target" / "plugins"
    build = ["target/debug/dask-operator-plugin-build", "--out", out, crate or f"plugins/examples/{name}"]
    done = subprocess.run(build, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / f"{name}.wasm"


def warnings(kubectl, *objects):
    """What kubectl warns of when objects are applied."""
    done = subprocess.run(["kubectl", "--namespace", kubectl.namespace, "apply", "--filename", "-"], text=True,
                          input="\n---\n".join(map(json.dumps, objects)), env=kubectl.environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("Warning: ") for line in done.stderr.splitlines() if line.startswith("Warning: ")]
