"""Schedulers, workers and clients of one release of ``distributed``, as processes of this machine."""

import json
import os
import subprocess
from pathlib import Path

from support.waiting import until

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

#: The program that asks. ASK names another one.
ASK = Path(os.environ.get("ASK", ROOT / "target" / "debug" / "examples" / "ask"))

#: Turns the HTTP API on, which is off by default.
WITH_API = {
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": json.dumps([
        "distributed.http.scheduler.prometheus", "distributed.http.scheduler.info", "distributed.http.scheduler.json",
        "distributed.http.health", "distributed.http.proxy", "distributed.http.statics",
        "distributed.http.scheduler.api",
    ])
}


def releases():
    """The releases that are tested, oldest first."""
    return sorted(path.stem for path in (HERE / "releases").glob("*.txt"))


def python(release):
    """The Python in which a release is installed."""
    command = [ROOT / "tests" / "venv", HERE / "releases" / f"{release}.txt"]
    return Path(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()) / "bin" / "python"


class Refused(AssertionError):
    """The program that asks ended with an error."""


class Dask:
    """A scheduler and its workers; ``with`` starts the scheduler and ends all of them."""

    def __init__(self, python, folder, tls=None, **variables):
        assert ASK.exists(), f"{ASK} is not there; build it: cargo build --workspace --all-targets"
        self.python = python
        self.folder = folder
        self.tls = tls
        self.variables = {**(tls.variables() if tls else {}), **variables}
        self.processes = {}
        self.scheduler_file = folder / "scheduler.json"

    def __enter__(self):
        protocol = ["--protocol", "tls"] if self.tls else []
        try:
            self.run("scheduler", "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *protocol,
                     "--dashboard-address", "127.0.0.1:0", "--scheduler-file", self.scheduler_file)
            identity = until(self.identity, "the scheduler to write its file")
        except BaseException:
            self.__exit__()
            raise
        self.address = identity["address"]
        self.http = f"http://127.0.0.1:{identity['services']['dashboard']}"
        return self

    def __exit__(self, *_):
        for name in reversed(list(self.processes)):
            self.end(name)

    def identity(self):
        """What the scheduler wrote about itself."""
        assert self.processes["scheduler"].poll() is None, self.log("scheduler")
        try:
            return json.loads(self.scheduler_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def run(self, name, *arguments, **options):
        """Start a process with this release's Python."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **self.variables}
        with (self.folder / f"{name}.log").open("w") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            command = [self.python, *map(str, arguments)]
            self.processes[name] = subprocess.Popen(command, env=environment, cwd=self.folder, **options)
        return self.processes[name]

    def log(self, name):
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text()

    def end(self, name):
        """End a process as a lost node does, and forget it."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def worker(self, *names):
        """Start workers with these names, and wait until they have registered."""
        for name in names:
            self.run(name, "-m", "distributed.cli.dask_worker", self.address, "--name", name, "--nthreads", "1",
                     "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", "1GiB",
                     "--local-directory", self.folder / name)

        def running():
            return set(names) <= {worker["name"] for worker in self.workers() if worker["status"] == "running"}

        until(running, f"the workers {names}")

    def client(self, *arguments):
        """A client that computes and holds results; see client.py."""
        return Client(self.run("client", HERE / "client.py", self.address, *arguments, text=True, bufsize=1,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def temporary_scheduler(self):
        """A second scheduler, with the temporary security that Dask makes; returns its address, and the variables for a client."""
        process = self.run("temporary", HERE / "temporary.py", text=True, stdout=subprocess.PIPE)
        return json.loads(process.stdout.readline())

    def ask(self, *calls, address=None, variables=None, timeout=10):
        """Make calls with our client; returns the answers, one alone as it is."""
        environment = {**os.environ, "ASK_TIMEOUT": str(timeout), **(self.tls.variables() if self.tls else {}),
                       **(variables or {})}
        command = [ASK, address or self.address, *calls]
        result = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=100)
        if result.returncode:
            raise Refused(result.stderr.strip())
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        return answers if len(answers) > 1 else answers[0]

    def workers(self):
        """All workers as our client sees them."""
        return self.ask("facts")["workers"]

    def by_name(self):
        """All workers by their names."""
        return {worker["name"]: worker for worker in self.workers()}


class Client:
    """The other end of client.py."""

    def __init__(self, process):
        self.process = process
        self.say("ready")

    def say(self, word):
        """Say a word; returns the answer."""
        self.process.stdin.write(word + "\n")
        line = self.process.stdout.readline()
        assert line, "the client ended"
        return json.loads(line)
