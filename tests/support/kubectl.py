"""kubectl in a namespace, and namespaces for tests."""

import json
import os
import subprocess
import uuid

from support.api_server import Refused, api_server
from support.waiting import GENEROUS, until


class Kubectl:
    """kubectl with the KUBECONFIG of ``environment``, in ``namespace``."""

    def __init__(self, environment, namespace=None):
        self.environment = environment
        self.namespace = namespace

    def __call__(self, *arguments, stdin=None, timeout=180):
        """Run kubectl and return its output."""
        command = ["kubectl", *(["--namespace", self.namespace] if self.namespace else []), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, env=self.environment, text=True, capture_output=True,
                              timeout=timeout, check=False)
        if done.returncode:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def server(self):
        """Return the direct client of the API server, for polling."""
        return api_server(self.environment["KUBECONFIG"], self.environment["PATH"])

    def apply(self, *objects, options=()):
        """Apply objects (dictionaries)."""
        return self("apply", *options, "--filename", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def create_raw(self, path, body, warnings=None):
        """POST an object, nulls included, as clients other than kubectl do, and return the stored object.

        The response's warning headers are appended to the list ``warnings``.
        """
        return self.server().create(path, body, warnings)

    def get(self, kind, name):
        """Return an object, or None if it does not exist."""
        return self.server().get(kind, self.namespace or "default", name)

    def list(self, kind, selector=""):
        """Return the objects of a kind that match a label selector, ordered by name."""
        return self.server().list(kind, self.namespace or "default", selector)

    def names(self, kind, selector=""):
        """Return the names of the objects of a kind that match a label selector."""
        return [item["metadata"]["name"] for item in self.list(kind, selector)]

    def patch(self, kind, name, patch, subresource=None, type="merge"):
        """Patch an object or one of its subresources."""
        options = ["--subresource", subresource] if subresource else []
        return self("patch", kind, name, *options, "--type", type, "--patch", json.dumps(patch))

    def events(self, name):
        """Return the reason and message of each event about an object."""
        events = self.list("events")
        return [(event["reason"], event["message"]) for event in events if event["involvedObject"]["name"] == name]

    def event(self, name, reason=None, words="", timeout=GENEROUS):
        """Wait for an event about an object with this reason and these words in its message, and return the message.

        Components publish events after they have written a status, so a test that has seen the status must still wait for the event.
        """
        def published():
            events = self.events(name)
            messages = [message for has, message in events if reason in (None, has) and words in message]
            assert messages, events
            return messages[-1]

        return until(published, f"the event {reason or ''} {words!r} about {name}", timeout)

    def report(self):
        """Return the namespace's Dask resources, pods, services and events as text, for a failed test."""
        commands = [
            ("get", "daskclusters,daskworkergroups,daskjobs,daskautoscalers,pods,services", "--output", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("get", "daskclusters,daskworkergroups,daskjobs,daskautoscalers", "--output", "jsonpath={range .items[*]}"
             "{.kind}/{.metadata.name} {.spec.worker.replicas} {.status}{'\\n'}{end}"),
        ]
        texts = []
        for command in commands:
            try:
                texts.append(f"$ kubectl {' '.join(command[:2])}\n{self(*command)}")
            except (Refused, subprocess.TimeoutExpired) as error:
                texts.append(f"$ kubectl {' '.join(command[:2])}: {error}")
        return "\n".join(texts)

    def schedulers(self):
        """Return the HTTP responses of the namespace's Dask schedulers as text."""
        texts = []
        for service in self.names("services", "dask.org/component=scheduler"):
            for page in ("counts.json", "identity.json"):
                path = f"/api/v1/namespaces/{self.namespace}/services/{service}:http-dashboard/proxy/json/{page}"
                try:
                    answer = self("get", "--raw", path, "--request-timeout=10s")
                except (Refused, subprocess.TimeoutExpired) as error:
                    answer = error
                texts.append(f"{service} {page}: {answer}")
        return "\n".join(texts) or "no scheduler"


def new_namespace(environment, test):
    """Create a namespace for a test and return a :class:`Kubectl` in it."""
    words = "".join(letter if letter.isalnum() else "-" for letter in test.lower()).strip("-")
    namespace = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:5]}"
    Kubectl(environment)("create", "namespace", namespace)
    made = Kubectl(environment, namespace)
    # The API server refuses pods until the namespace has a default service account.
    made("wait", "--for=create", "serviceaccount/default", "--timeout=120s")
    return made


def drop_namespace(kubectl):
    """Start the deletion of a namespace; :func:`await_end` waits for its end."""
    # Finalizers that a test has set must not block the deletion.
    for kind in ("daskclusters", "daskautoscalers"):
        for item in kubectl.list(kind):
            if item["metadata"].get("finalizers"):
                kubectl.patch(kind, item["metadata"]["name"], {"metadata": {"finalizers": None}})
    Kubectl(kubectl.environment)("delete", "namespace", kubectl.namespace, "--wait=false", "--ignore-not-found")


def await_end(environment, namespaces, timeout=300):
    """Wait until namespaces are deleted."""
    for namespace in namespaces:
        Kubectl(environment)("wait", "--for=delete", f"namespace/{namespace}", f"--timeout={timeout}s",
                             timeout=timeout + 10)


def environment_of(kubeconfig, path):
    """Return the environment variables with which kubectl uses this kubeconfig and PATH."""
    return {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path}
