"""kubectl, in a namespace."""

import json
import os
import subprocess
import uuid

from support.api_server import Refused, api_server
from support.waiting import GENEROUS, until


class Kubectl:
    """kubectl with the kubeconfig ``environment`` names, in ``namespace``."""

    def __init__(self, environment, namespace=None):
        self.environment = environment
        self.namespace = namespace

    def __call__(self, *arguments, stdin=None, timeout=180):
        """Run kubectl and return what it prints."""
        command = ["kubectl", *(["--namespace", self.namespace] if self.namespace else []), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, env=self.environment, text=True, capture_output=True,
                              timeout=timeout, check=False)
        if done.returncode:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def server(self):
        """The API server itself, for what is looked at often."""
        return api_server(self.environment["KUBECONFIG"], self.environment["PATH"])

    def apply(self, *objects, options=()):
        """Apply objects (dictionaries)."""
        return self("apply", *options, "--filename", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def create_raw(self, path, body, warnings=None):
        """POST an object as a client other than kubectl does, nulls included; return what is stored. What is warned of is added to
        the list ``warnings``."""
        return self.server().create(path, body, warnings)

    def get(self, kind, name):
        """One object, or None."""
        return self.server().get(kind, self.namespace or "default", name)

    def list(self, kind, selector=""):
        """All objects of a kind that a label selector selects, in the order of their names."""
        return self.server().list(kind, self.namespace or "default", selector)

    def names(self, kind, selector=""):
        """The names of the same."""
        return [item["metadata"]["name"] for item in self.list(kind, selector)]

    def patch(self, kind, name, patch, subresource=None, type="merge"):
        """Change an object, or a subresource of it."""
        options = ["--subresource", subresource] if subresource else []
        return self("patch", kind, name, *options, "--type", type, "--patch", json.dumps(patch))

    def events(self, name):
        """Reasons and messages of the events about an object."""
        events = self.list("events")
        return [(event["reason"], event["message"]) for event in events if event["involvedObject"]["name"] == name]

    def event(self, name, reason=None, words="", timeout=GENEROUS):
        """Wait for an event about an object, with this reason and these words in its message; return the message.

        Components publish events after they have written a status: who sees the status must wait for the event.
        """
        def published():
            events = self.events(name)
            messages = [message for has, message in events if reason in (None, has) and words in message]
            assert messages, events
            return messages[-1]

        return until(published, f"the event {reason or ''} {words!r} about {name}", timeout)

    def report(self):
        """What a person would look at after a failure."""
        looks = [
            ("get", "daskclusters,daskworkergroups,daskjobs,daskautoscalers,pods,services", "--output", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("get", "daskclusters,daskworkergroups,daskjobs,daskautoscalers", "--output", "jsonpath={range .items[*]}"
             "{.kind}/{.metadata.name} {.spec.worker.replicas} {.status}{'\\n'}{end}"),
        ]
        texts = []
        for look in looks:
            try:
                texts.append(f"$ kubectl {' '.join(look[:2])}\n{self(*look)}")
            except (Refused, subprocess.TimeoutExpired) as error:
                texts.append(f"$ kubectl {' '.join(look[:2])}: {error}")
        return "\n".join(texts)

    def schedulers(self):
        """What the Dask schedulers answer that can be asked by HTTP."""
        texts = []
        for service in self.names("services", "dask.org/component=scheduler"):
            for page in ("counts.json", "identity.json"):
                path = f"/api/v1/namespaces/{self.namespace}/services/{service}:http-dashboard/proxy/json/{page}"
                try:
                    answer = self("get", "--raw", path, "--request-timeout=10s")
                except (Refused, subprocess.TimeoutExpired) as error:
                    answer = error
                texts.append(f"{service} {page}: {answer}")
        return "\n".join(texts) or "there is none"


def new_namespace(environment, test):
    """A Kubectl in a namespace made for a test."""
    words = "".join(letter if letter.isalnum() else "-" for letter in test.lower()).strip("-")
    namespace = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:5]}"
    Kubectl(environment)("create", "namespace", namespace)
    made = Kubectl(environment, namespace)
    # Pods are refused until the namespace has one.
    made("wait", "--for=create", "serviceaccount/default", "--timeout=120s")
    return made


def drop_namespace(kubectl):
    """Have the namespace deleted. It takes a while; :func:`await_end` waits for it."""
    # Finalizers that a test put there must not keep it.
    for kind in ("daskclusters", "daskautoscalers"):
        for item in kubectl.list(kind):
            if item["metadata"].get("finalizers"):
                kubectl.patch(kind, item["metadata"]["name"], {"metadata": {"finalizers": None}})
    Kubectl(kubectl.environment)("delete", "namespace", kubectl.namespace, "--wait=false", "--ignore-not-found")


def await_end(environment, namespaces, timeout=300):
    """Wait until namespaces are gone."""
    for namespace in namespaces:
        Kubectl(environment)("wait", "--for=delete", f"namespace/{namespace}", f"--timeout={timeout}s",
                             timeout=timeout + 10)


def environment_of(kubeconfig, path):
    """The environment in which kubectl finds a cluster."""
    return {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path}
