"""The operator's chart, as helm sees it."""

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
#: Sets of values that tests use.
VALUES = sorted((ROOT / "tests" / "chart" / "values").glob("*.yaml"))


class Refused(Exception):
    """helm ended with an error; the text is its own."""


def helm(*arguments, values=None, environment=None, timeout=300):
    """Run helm with values (a dictionary) and return what it prints."""
    command = [programs.path("helm"), *map(str, arguments), *(["--values", "-"] if values is not None else [])]
    done = subprocess.run(command, input=yaml.safe_dump(values) if values is not None else None, text=True, capture_output=True,
                          env={**os.environ, **(environment or {})}, timeout=timeout, check=False)
    if done.returncode:
        raise Refused((done.stderr or done.stdout).strip())
    return done.stdout


def template(values=None, show=()):
    """The text of the chart's objects, of the release ``dask`` in the namespace ``operators``; those of some files, if any
    are named."""
    shown = [option for file in show for option in ("--show-only", file)]
    return helm("template", "dask", CHART, "--namespace", "operators", *shown, values=values or {})


def objects(text):
    """The objects of a text, the definitions of the Dask resources left out: these are compared with crds/ elsewhere."""
    found = (document for document in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document)
    return [document for document in found if document["kind"] != "CustomResourceDefinition"]


class Account(NamedTuple):
    """The account of an operator, with the rights that the chart gives and no others."""

    #: In which a program has these rights.
    environment: dict
    #: The name of the release, of its namespace and of its objects.
    name: str
    #: Which namespaces the operator looks after; all where there are none.
    namespaces: tuple

    def lease(self, seconds=60):
        """What the chart says of the lease on the command line of an operator with this account. The lease lasts six times as
        long: an operator that can't renew it on a busy machine ends, and here nothing starts it again."""
        return ["--lease", self.name, "--lease-namespace", self.name, f"--lease-seconds={seconds}"]

    def arguments(self, lease_seconds=60):
        """All that the chart says there, beside what values say."""
        name = self.name
        arguments = [*self.lease(lease_seconds), *(f"--namespace={namespace}" for namespace in self.namespaces)]
        if self.namespaces:
            return arguments
        return [*arguments, "--webhook", free_address(), "--webhook-service", f"{name}/{name}-webhook",
                "--webhook-secret", f"{name}-webhook", "--webhook-configuration", f"{name}-{name}"]


#: The webhook's configurations are there, and ask about nothing that is in a namespace; for all else nobody answers.
NOBODY_ASKS = {"namespaceSelector": {"matchLabels": {"nobody": "asks"}}, "failurePolicy": "Ignore", "timeoutSeconds": 1}


def kubeconfig(admin, namespace, name):
    """The text of a kubeconfig with which a program is a service account."""
    token = admin("--namespace", namespace, "create", "token", name, "--duration=24h").strip()
    config = json.loads(admin("config", "view", "--raw", "--minify", "--output", "json"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    return json.dumps(config)


@contextmanager
def account(admin, folder, **values):
    """An :class:`Account` as a release with these values has it. Without a webhook where ``namespaces`` are given."""
    name = f"rights-{uuid.uuid4().hex[:5]}"
    namespaces = tuple(values.get("namespaces", ()))
    files = ["serviceaccount", "rbac", *([] if namespaces else ["webhook"])]
    text = helm("template", name, CHART, "--namespace", name,
                *(option for file in files for option in ("--show-only", f"templates/{file}.yaml")),
                values={"crds": {"install": False}, "fullnameOverride": name, "webhook": NOBODY_ASKS, **values})
    admin("create", "namespace", name)
    try:
        admin("apply", "--filename", "-", stdin=text)
        file = folder / f"{name}.kubeconfig"
        file.write_text(kubeconfig(admin, name, name))
        yield Account({**admin.environment, "KUBECONFIG": str(file)}, name, namespaces)
    finally:
        admin("delete", "--filename", "-", "--wait=false", "--ignore-not-found", stdin=text)
        admin("delete", "namespace", name, "--wait=false")
