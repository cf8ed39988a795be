"""The operator as a process of this machine, and the interface that tests use for any operator."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from support.cluster import ROOT
from support.waiting import GENEROUS, until

#: Path of the operator's program. The environment variable DASK_OPERATOR overrides it.
BINARY = Path(os.environ.get("DASK_OPERATOR", ROOT / "target" / "debug" / "dask-operator"))
#: Metric that counts the operator's requests to the API server.
REQUESTS = "dask_operator_api_requests_total"


def free_address():
    """Return an unused address (host and port) of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Observed:
    """Metrics and logs of an operator. Subclasses implement ``fetch`` (an HTTP GET) and ``logs``."""

    def samples(self, name):
        """Yield the labels and the value of each sample of a metric."""
        for line in self.fetch("/metrics").splitlines():
            sample = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if sample and sample[1] == name:
                yield dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or "")), float(sample[3])

    def metric(self, name, **labels):
        """Return the sum of the samples of a metric that have these labels."""
        return sum((value for has, value in self.samples(name) if labels.items() <= has.items()), 0.0)

    def requests(self):
        """Return the number of requests that the operator has sent, without watches and those for its lease."""
        return sum(count for labels, count in self.samples(REQUESTS)
                   if labels["verb"] != "watch" and labels["resource"].split("/")[0] != "leases")

    def writes(self, apart_from=()):
        """Return the number of write requests, except those for the resources ``apart_from``.

        One scrape counts them all, because the operator may send more requests between two scrapes.
        """
        return sum(count for labels, count in self.samples(REQUESTS)
                   if labels["verb"] not in ("get", "list", "watch") and labels["resource"].split("/")[0] not in apart_from)

    def missing_rights(self):
        """Return the requests that were forbidden because of a missing permission, as ``verb resource``.

        A create request is also forbidden for other reasons: a quota, or a namespace that is being deleted. Therefore create
        requests count only if the log has RBAC's message.
        """
        missing = set(re.findall(r'cannot (\w+ resource "[^"]+")', self.logs()))
        for labels, _ in self.samples(REQUESTS):
            creates = labels["verb"] == "create" or labels["verb"] == "apply" and "/" not in labels["resource"]
            if labels["code"] == "403" and not creates:
                missing.add(f"{labels['verb']} {labels['resource']}")
        return sorted(missing)

    def wait_until_quiet(self, seconds=4.0, timeout=GENEROUS):
        """Wait until the operator has sent no request for ``seconds``."""
        seen = {"requests": None, "since": time.monotonic()}

        def quiet():
            now = self.requests()
            if now != seen["requests"]:
                seen.update(requests=now, since=time.monotonic())
            return time.monotonic() - seen["since"] > seconds

        until(quiet, "the operator to send no requests", timeout=timeout)

    def mark(self):
        """Return the length of the log, for :meth:`since`."""
        return len(self.logs())

    def since(self, mark, most=400):
        """Return the log since ``mark``, at most its last ``most`` lines."""
        return "\n".join(self.logs()[mark:].splitlines()[-most:])

    def tail(self, lines=40):
        """Return the last lines of the log."""
        return "\n".join(self.logs().splitlines()[-lines:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Operator(Observed):
    """An operator process; leaving the ``with`` block stops it."""

    def __init__(self, environment, folder, *arguments):
        assert BINARY.exists(), f"{BINARY} does not exist: `make build` makes the debug build, `make release` the release build"
        self.environment = environment
        self.arguments = arguments
        self.log = Path(folder) / "operator.log"
        self.process = None
        self.address = None

    def start(self, wait=True):
        """Start the operator, and wait until it is ready unless ``wait`` is false."""
        self.address = free_address()
        with self.log.open("a") as log:
            self.process = subprocess.Popen([BINARY, "run", "--bind", self.address, *self.arguments],
                                            env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            until(self.is_ready, "the operator to be ready", pause=0.05)
        return self

    def is_ready(self):
        """Return whether ``/readyz`` succeeds. Raises RuntimeError if the process has exited."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator exited unexpectedly:\n{self.tail()}")
        try:
            self.fetch("/readyz")
            return True
        except OSError:  # the connection is refused, the request times out, or the response is an error
            return False

    def fetch(self, path):
        """Return the response body of a GET request."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read().decode()

    def logs(self):
        """Return the whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def aim(self):
        """Return a function that kills the operator immediately."""
        return self.kill

    def kill(self):
        """Kill the process with SIGKILL, without a graceful shutdown."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Stop the process with SIGTERM, as Kubernetes does. If it exited unexpectedly before, print the end of its log."""
        if self.process and self.process.poll() not in (None, 0, -signal.SIGKILL):
            print(f"the operator exited unexpectedly:\n{self.tail()}")
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the operator did not exit within 60 s after SIGTERM:\n{self.tail()}") from None
