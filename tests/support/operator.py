"""The operator as a process of this machine, and what tests ask of any operator."""

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

#: The program. DASK_OPERATOR names another one.
BINARY = Path(os.environ.get("DASK_OPERATOR", ROOT / "target" / "debug" / "dask-operator"))
#: Its requests to the API server.
REQUESTS = "dask_operator_api_requests_total"


def free_address():
    """An address of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Observed:
    """An operator that answers and logs, wherever it runs: who inherits this says how to ``fetch`` and to read the ``logs``."""

    def samples(self, name):
        """Labels and value of each of a metric's samples."""
        for line in self.fetch("/metrics").splitlines():
            sample = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if sample and sample[1] == name:
                yield dict(re.findall(r'(\w+)="([^"]*)"', sample[2] or "")), float(sample[3])

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        return sum((value for has, value in self.samples(name) if labels.items() <= has.items()), 0.0)

    def requests(self):
        """How many requests it has sent, watches and those for its lease aside."""
        return sum(count for labels, count in self.samples(REQUESTS)
                   if labels["verb"] != "watch" and labels["resource"].split("/")[0] != "leases")

    def writes(self, apart_from=()):
        """How many of its requests were to change something, except those about some resources. All are counted in one answer,
        because others come between two."""
        return sum(count for labels, count in self.samples(REQUESTS)
                   if labels["verb"] not in ("get", "list", "watch") and labels["resource"].split("/")[0] not in apart_from)

    def missing_rights(self):
        """What it was forbidden for want of a right, as ``verb resource``.

        Creating is forbidden for other reasons too, by a quota or in a namespace that ends; so for what creates, its log has
        to have the words that mean a right.
        """
        missing = set(re.findall(r'cannot (\w+ resource "[^"]+")', self.logs()))
        for labels, _ in self.samples(REQUESTS):
            creates = labels["verb"] == "create" or labels["verb"] == "apply" and "/" not in labels["resource"]
            if labels["code"] == "403" and not creates:
                missing.add(f"{labels['verb']} {labels['resource']}")
        return sorted(missing)

    def wait_until_quiet(self, seconds=4.0, timeout=GENEROUS):
        """Wait until it has sent no request for some time."""
        seen = {"requests": None, "since": time.monotonic()}

        def quiet():
            now = self.requests()
            if now != seen["requests"]:
                seen.update(requests=now, since=time.monotonic())
            return time.monotonic() - seen["since"] > seconds

        until(quiet, "the operator to be quiet", timeout=timeout)

    def mark(self):
        """How much it has logged, for :meth:`since`."""
        return len(self.logs())

    def since(self, mark, most=400):
        """What it has logged since then, the newest lines at most."""
        return "\n".join(self.logs()[mark:].splitlines()[-most:])

    def tail(self, lines=40):
        """The end of its log."""
        return "\n".join(self.logs().splitlines()[-lines:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Operator(Observed):
    """A running operator; ``with`` ends it."""

    def __init__(self, environment, folder, *arguments):
        assert BINARY.exists(), f"{BINARY} is not there: `make build` makes the debug build, `make release` the release"
        self.environment = environment
        self.arguments = arguments
        self.log = Path(folder) / "operator.log"
        self.process = None
        self.address = None

    def start(self, wait=True):
        """Start it, and wait until it is ready."""
        self.address = free_address()
        with self.log.open("a") as log:
            self.process = subprocess.Popen([BINARY, "run", "--bind", self.address, *self.arguments],
                                            env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            until(self.is_ready, "the operator to be ready", pause=0.05)
        return self

    def is_ready(self):
        """Whether it says so."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator ended by itself:\n{self.tail()}")
        try:
            self.fetch("/readyz")
            return True
        except OSError:  # nobody listens yet, or nobody answers yet, or it says no
            return False

    def fetch(self, path):
        """What it answers at a path."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.read().decode()

    def logs(self):
        """All that it logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def aim(self):
        """What kills it at once when called."""
        return self.kill

    def kill(self):
        """SIGKILL: it has no chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, as Kubernetes does it. Where it has ended by itself, a test that failed tells so."""
        if self.process and self.process.poll() not in (None, 0, -signal.SIGKILL):
            print(f"the operator ended by itself:\n{self.tail()}")
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the operator did not end 60 s after SIGTERM:\n{self.tail()}") from None
