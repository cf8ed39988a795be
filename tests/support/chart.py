"""The operator's chart, rendered and installed by helm."""

import json
import os
import subprocess
import uuid
from contextlib import contextmanager
from typing import NamedTuple

import yaml

from support import programs
from support.cluster import ROOT
from support.operator import free_address

CHART = ROOT / "charts" / "dask-kubernetes-operator"
#: Values files used by the tests.
VALUES = sorted((ROOT / "tests" / "chart" / "values").glob("*.yaml"))


class Refused(Exception):
    """helm failed; the text is its error message."""


def helm(*arguments, values=None, environment=None, timeout=300):
    """Run helm with values (a dictionary) and return its output."""
    command = [programs.path("helm"), *map(str, arguments), *(["--values", "-"] if values is not None else [])]
    done = subprocess.run(command, input=yaml.safe_dump(values) if values is not None else None, text=True, capture_output=True,
                          env={**os.environ, **(environment or {})}, timeout=timeout, check=False)
    if done.returncode:
        raise Refused((done.stderr or done.stdout).strip())
    return done.stdout


def template(values=None, show=()):
    """Return the rendered manifests of the release ``dask`` in the namespace ``operators``.

    ``show`` limits the output to these template files.
    """
    shown = [option for file in show for option in ("--show-only", file)]
    return helm("template", "dask", CHART, "--namespace", "operators", *shown, values=values or {})


def objects(text):
    """Return the objects of a rendered text without the CRDs, which another test compares with crds/."""
    found = (document for document in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document)
    return [document for document in found if document["kind"] != "CustomResourceDefinition"]


class Account(NamedTuple):
    """A service account with exactly the permissions that the chart grants to the operator."""

    #: Environment variables with a KUBECONFIG that authenticates as this account.
    environment: dict
    #: Name of the release, of its namespace and of its objects.
    name: str
    #: Namespaces that the operator manages; empty means all.
    namespaces: tuple

    def lease(self, seconds=60):
        """Return the operator's lease arguments, as the chart sets them.

        The default duration is six times the chart's: on a busy machine an operator may fail to renew its lease, and then it
        exits; in these tests nothing restarts it.
        """
        return ["--lease", self.name, "--lease-namespace", self.name, f"--lease-seconds={seconds}"]

    def arguments(self, lease_seconds=60):
        """Return the command-line arguments that the chart sets independently of optional values."""
        name = self.name
        arguments = [*self.lease(lease_seconds), *(f"--namespace={namespace}" for namespace in self.namespaces)]
        if self.namespaces:
            return arguments
        return [*arguments, "--webhook", free_address(), "--webhook-service", f"{name}/{name}-webhook",
                "--webhook-secret", f"{name}-webhook", "--webhook-configuration", f"{name}-{name}"]


#: Values for webhook configurations that match no namespace. For cluster-scoped objects the call fails and is ignored.
INERT_WEBHOOK = {"namespaceSelector": {"matchLabels": {"matches": "nothing"}}, "failurePolicy": "Ignore", "timeoutSeconds": 1}


def kubeconfig(admin, namespace, name):
    """Return the text of a kubeconfig that authenticates as a service account."""
    token = admin("--namespace", namespace, "create", "token", name, "--duration=24h").strip()
    config = json.loads(admin("config", "view", "--raw", "--minify", "--output", "json"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    return json.dumps(config)


@contextmanager
def account(admin, folder, **values):
    """Create the :class:`Account` of a release with these values, without a webhook if ``namespaces`` are given."""
    name = f"rights-{uuid.uuid4().hex[:5]}"
    namespaces = tuple(values.get("namespaces", ()))
    files = ["serviceaccount", "rbac", *([] if namespaces else ["webhook"])]
    text = helm("template", name, CHART, "--namespace", name,
                *(option for file in files for option in ("--show-only", f"templates/{file}.yaml")),
                values={"crds": {"install": False}, "fullnameOverride": name, "webhook": INERT_WEBHOOK, **values})
    admin("create", "namespace", name)
    try:
        admin("apply", "--filename", "-", stdin=text)
        file = folder / f"{name}.kubeconfig"
        file.write_text(kubeconfig(admin, name, name))
        yield Account({**admin.environment, "KUBECONFIG": str(file)}, name, namespaces)
    finally:
        admin("delete", "--filename", "-", "--wait=false", "--ignore-not-found", stdin=text)
        admin("delete", "namespace", name, "--wait=false")
