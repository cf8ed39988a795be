"""The operator's chart, as helm sees it."""

import functools
import json
import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import yaml

from support.cluster import ROOT
from support.operator import free_address

CHART = ROOT / "charts" / "dask-kubernetes-operator"
#: Sets of values that tests use.
VALUES = sorted((ROOT / "tests" / "chart" / "values").glob("*.yaml"))


class Refused(Exception):
    """helm ended with an error; the text is its own."""


@functools.cache
def program():
    """The path of helm: built once, from its Go module."""
    built = subprocess.run([sys.executable, "tests/cluster", "build", "helm"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return built.stdout.split()[1]


def helm(*arguments, values=None, environment=None, timeout=300):
    """Run helm with values (a dictionary) and return what it prints."""
    command = [program(), *map(str, arguments), *(["--values", "-"] if values is not None else [])]
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


@contextmanager
def account(admin, folder):
    """The environment in which a program has the rights of the operator that the chart installs, and no others."""
    namespace = f"rights-{uuid.uuid4().hex[:5]}"
    text = helm("template", namespace, CHART, "--namespace", namespace, "--set", "crds.install=false,fullnameOverride=" + namespace,
                # The webhook's configurations are there, and ask about nothing that is in a namespace; for all else nobody answers.
                "--set", "webhook.namespaceSelector.matchLabels.nobody=asks,webhook.failurePolicy=Ignore,webhook.timeoutSeconds=1",
                "--show-only", "templates/webhook.yaml",
                "--show-only", "templates/serviceaccount.yaml", "--show-only", "templates/rbac.yaml")
    admin("create", "namespace", namespace)
    try:
        admin("apply", "--filename", "-", stdin=text)
        token = admin("--namespace", namespace, "create", "token", namespace, "--duration=24h").strip()
        config = json.loads(admin("config", "view", "--raw", "--minify", "--output", "json"))
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        kubeconfig = folder / f"{namespace}.kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        yield {**admin.environment, "KUBECONFIG": str(kubeconfig)}
    finally:
        admin("delete", "--filename", "-", "--wait=false", stdin=text)
        admin("delete", "namespace", namespace, "--wait=false")


def own_arguments(environment):
    """What the chart says on the command line of an operator with the rights of :func:`account`, beside what values say."""
    name = Path(environment["KUBECONFIG"]).stem
    return ["--lease", name, "--lease-namespace", name, "--webhook", free_address(), "--webhook-service", f"{name}/{name}-webhook",
            "--webhook-secret", f"{name}-webhook", "--webhook-configuration", f"{name}-{name}"]
