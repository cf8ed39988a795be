"""Schedulers, workers and clients of one release of ``distributed``, as processes on this machine."""

import json
import os
import subprocess
from pathlib import Path

from support.waiting import until

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

#: Program that queries schedulers with the Rust client. The variable ASK overrides the path.
ASK = Path(os.environ.get("ASK", ROOT / "target" / "debug" / "examples" / "ask"))

#: Variables that enable the HTTP API, which is disabled by default.
WITH_API = {
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": json.dumps([
        "distributed.http.scheduler.prometheus", "distributed.http.scheduler.info", "distributed.http.scheduler.json",
        "distributed.http.health", "distributed.http.proxy", "distributed.http.statics",
        "distributed.http.scheduler.api",
    ])
}


def releases():
    """Names of the tested releases, oldest first."""
    return sorted(path.stem for path in (HERE / "releases").glob("*.txt"))


def python(release):
    """Installs a release if necessary, and returns the path of its Python."""
    command = [ROOT / "tests" / "venv", HERE / "releases" / f"{release}.txt"]
    return Path(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()) / "bin" / "python"


class Refused(AssertionError):
    """The query program ended with an error, which is the text."""


class Dask:
    """A scheduler and its workers. ``with`` starts the scheduler, and kills all processes at its end."""

    def __init__(self, python, folder, tls=None, **variables):
        assert ASK.exists(), f"{ASK} does not exist; build it: cargo build --workspace --all-targets"
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
        """Content of the scheduler file; None if the scheduler has not written it yet."""
        assert self.processes["scheduler"].poll() is None, self.log("scheduler")
        try:
            return json.loads(self.scheduler_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def run(self, name, *arguments, **options):
        """Starts a process with this release's Python, and returns it."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **self.variables}
        with (self.folder / f"{name}.log").open("w") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            command = [self.python, *map(str, arguments)]
            self.processes[name] = subprocess.Popen(command, env=environment, cwd=self.folder, **options)
        return self.processes[name]

    def log(self, name):
        """Output of a process so far."""
        return (self.folder / f"{name}.log").read_text()

    def end(self, name):
        """Kills a process without a graceful shutdown, as the loss of a node does, and removes it from ``processes``."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def worker(self, *names):
        """Starts workers with these names, and waits until they are registered and running."""
        for name in names:
            self.run(name, "-m", "distributed.cli.dask_worker", self.address, "--name", name, "--nthreads", "1",
                     "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", "1GiB",
                     "--local-directory", self.folder / name)

        def running():
            return set(names) <= {worker["name"] for worker in self.workers() if worker["status"] == "running"}

        until(running, f"the workers {names} to register")

    def client(self, *arguments):
        """Starts a client that computes results and keeps references to them; see client.py."""
        return Client(self.run("client", HERE / "client.py", self.address, *arguments, text=True, bufsize=1,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def temporary_scheduler(self):
        """Starts a second scheduler with Dask's temporary security. Returns its address, and the variables for a client."""
        process = self.run("temporary", HERE / "temporary.py", text=True, stdout=subprocess.PIPE)
        return json.loads(process.stdout.readline())

    def ask(self, *calls, address=None, variables=None, timeout=10):
        """Makes calls with the Rust client. Returns the list of answers; a single answer is returned without a list."""
        environment = {**os.environ, "ASK_TIMEOUT": str(timeout), **(self.tls.variables() if self.tls else {}),
                       **(variables or {})}
        command = [ASK, address or self.address, *calls]
        result = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=100)
        if result.returncode:
            raise Refused(result.stderr.strip())
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        return answers if len(answers) > 1 else answers[0]

    def workers(self):
        """All workers as the Rust client reports them."""
        return self.ask("facts")["workers"]

    def by_name(self):
        """All workers by name."""
        return {worker["name"]: worker for worker in self.workers()}


class Client:
    """Connection to a running client.py."""

    def __init__(self, process):
        self.process = process
        self.send("ready")

    def send(self, command):
        """Sends a command, and returns the answer."""
        self.process.stdin.write(command + "\n")
        line = self.process.stdout.readline()
        assert line, "the client ended"
        return json.loads(line)
