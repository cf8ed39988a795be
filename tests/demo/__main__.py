"""``make demo`` and ``make down``: a Kubernetes cluster, the operator, and a Dask cluster that computes.

``make demo`` starts the local Kubernetes, builds the operator's image and installs the chart. If ``KUBECONFIG`` is set, it uses
that cluster; as the image is not available there, the operator then runs as a process of this machine.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "cluster"))

from localkube import processes, programs  # noqa: E402
from localkube.console import Failure, Progress, say, step  # noqa: E402
from localkube.settings import cache_home  # noqa: E402

OPERATOR = ROOT / "target" / "debug" / "dask-operator"
CHART = ROOT / "charts" / "dask-kubernetes-operator"
IMAGE = ROOT / "charts" / "image" / "operator.toml"
EXAMPLE = ROOT / "examples" / "cluster.yaml"
RELEASE, NAMESPACE = "dask", "dask-operator"
DEPLOYMENT = "deployment/dask-dask-kubernetes-operator"
CLUSTER = "simple"
RECORDS = processes.Records(cache_home() / "demo")
LOG = cache_home() / "demo" / "operator.log"
HEALTH = "127.0.0.1:8080"

#: Program of the demonstration, which runs in the scheduler's pod and connects through the Service.
COMPUTATION = f"""
from distributed import Client
if __name__ == "__main__":
    with Client("tcp://{CLUSTER}-scheduler:8786", timeout=30) as client:
        squares = client.map(lambda n: n * n, range(1000))
        workers = len(client.sync(client.scheduler.identity)["workers"])
        print(f"the sum of the first 1,000 squares, by {{workers}} workers: {{client.submit(sum, squares).result()}}")
"""


def run(*argv, **options):
    """Run a program and return its output. Raises :class:`Failure` with its error output if it fails."""
    try:
        done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, check=False, **options)
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is not on the PATH: install it, then run this again") from None
    if done.returncode:
        raise Failure(f"`{' '.join(argv[:6])} …` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def kubectl(*arguments, **options):
    """Run kubectl on the selected cluster and return its output."""
    return run("kubectl", *arguments, **options)


def build():
    """Build the operator, and show cargo's progress."""
    with step("build the operator and its components"):
        done = subprocess.run(["make", "--silent", "build"], cwd=ROOT, check=False)
        if done.returncode:
            raise Failure("the build failed; its output is above")


def use_given_kubernetes():
    """Check that the cluster of KUBECONFIG responds."""
    with step(f"use the cluster that KUBECONFIG names ({os.environ['KUBECONFIG']})"):
        kubectl("version", "--request-timeout=10s")


def start_kubernetes():
    """Start the local Kubernetes, and set the environment so that kubectl and helm use it."""
    say("the local Kubernetes")
    if subprocess.run([sys.executable, "tests/cluster", "up"], cwd=ROOT, check=False).returncode:
        raise Failure("the local Kubernetes could not be started; its output is above")
    shell = run("bash", "-c", f'eval "$({sys.executable} tests/cluster kubeconfig)"; printf "%s\\n" "$KUBECONFIG" "$PATH"')
    os.environ["KUBECONFIG"], os.environ["PATH"] = shell.splitlines()


def install_operator():
    """Install the operator as a release of its chart."""
    with step("build the operator's image, and push it to the cluster's registry") as note:
        started = time.monotonic()
        run(sys.executable, "tests/cluster", "image", "build", str(IMAGE), "--source", f"/usr/bin/dask-operator={OPERATOR}")
        note(f"{time.monotonic() - started:.1f} s")
    with step(f"helm install {RELEASE} {CHART.relative_to(ROOT)}"):
        # The content of the image may differ from that of the last run although its name is the same.
        program = hashlib.sha256(OPERATOR.read_bytes()).hexdigest()
        helm = programs.ensure(["helm"])["helm"]
        try:
            run(str(helm), "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace", "--wait",
                "--timeout=300s", "--set", "image.pullPolicy=Always", "--set-string", f"podAnnotations.program={program[:12]}")
        except Failure as failure:
            raise Failure(f"{failure}\n{release_report()}") from None


def release_report():
    """Return the state of the release as text: pods with events, and the logs of the operator and of the node's components."""
    kubectl_of = ["kubectl", "--namespace", NAMESPACE, "--request-timeout=20s"]
    local = [sys.executable, "tests/cluster"]
    commands = [
        [*kubectl_of, "describe", "pods"],
        [*kubectl_of, "logs", DEPLOYMENT],
        [*kubectl_of, "logs", DEPLOYMENT, "--previous"],
        [*local, "status"],
        *([*local, "logs", component] for component in ["kubelet", "containerd", "coredns"]),
    ]
    parts = []
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        parts += [f"$ {' '.join(command)}", *(line[:400] for line in done.stdout.splitlines()[-60:])]
    return "\n".join(parts)


def start_operator():
    """Start the operator as a process of this machine, which runs until ``make down``."""
    with step("install the resource definitions"):
        kubectl("apply", "--filename", "crds/")
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", "crds/")
    stop_operator()
    with step("start the operator") as note:
        LOG.unlink(missing_ok=True)
        process = processes.launch([str(OPERATOR), "run", "--bind", HEALTH], LOG, env=os.environ.copy())
        RECORDS.write("operator", process)
        wait_for("the operator", lambda: healthy(process), timeout=60)
        note(f"process {process.pid}, log {LOG}")


def healthy(process):
    """Return whether the operator is ready. Raises :class:`Failure` if it has exited."""
    if not process.alive:
        raise Failure(f"the operator exited:\n{processes.tail(LOG)}")
    curl = subprocess.run(["curl", "--silent", "--fail", "--max-time", "2", f"http://{HEALTH}/readyz"],
                          capture_output=True, check=False)
    return curl.returncode == 0


def stop_operator():
    """Stop the operator process of an earlier run, if there is one."""
    process = RECORDS.read("operator")
    if process and process.alive:
        process.kill(processes.signal.SIGTERM)
        if not process.wait(10):
            process.kill()
    RECORDS.forget("operator")


def run_example():
    """Apply the example, wait for its workers, and run the computation."""
    wanted = json.loads(kubectl("create", "--dry-run=client", "--output=json", "--filename", str(EXAMPLE)))
    replicas = wanted["spec"]["worker"]["replicas"]
    with step(f"kubectl apply --filename {EXAMPLE.relative_to(ROOT)}"):
        kubectl("apply", "--filename", str(EXAMPLE))
    with step("the scheduler and its workers start") as note:
        wait_for(f"{replicas} workers", lambda: joined() >= replicas, timeout=300, detail=lambda: f"{joined()} of {replicas} have joined")
        note(f"{replicas} workers have joined")
    with step("compute") as note:
        note(kubectl("exec", f"{CLUSTER}-scheduler", "--stdin", "--", "python", "-c", COMPUTATION).strip())
    say()
    say(kubectl("get", "dsk,daskworkergroups,pods,svc"))


def joined():
    """Return the number of workers that the scheduler knows, or 0 while it is unreachable."""
    path = f"/api/v1/namespaces/default/services/{CLUSTER}-scheduler:http-dashboard/proxy/json/counts.json"
    response = subprocess.run(["kubectl", "get", "--raw", path], text=True, capture_output=True, check=False)
    try:
        return json.loads(response.stdout)["workers"]
    except (ValueError, KeyError):
        return 0


def wait_for(what, done, timeout, detail=lambda: "not yet"):
    """Poll ``done`` until it returns true, and print progress. Raises :class:`Failure` after ``timeout`` seconds."""
    progress = Progress(f"waiting for {what}", every=5)
    while not done():
        if time.monotonic() - progress.started > timeout:
            raise Failure(f"waited {timeout} s for {what}; to see the operator's log: {log_command()}\n"
                          + kubectl("get", "dsk,daskworkergroups,pods,svc,events"))
        progress.tick(detail())
        time.sleep(0.3)


def log_command():
    """Return the command that shows the operator's log."""
    process = RECORDS.read("operator")
    return f"tail -f {LOG}" if process and process.alive else f"kubectl -n {NAMESPACE} logs {DEPLOYMENT} -f"


def up():
    """Run ``make demo``."""
    build()
    if os.environ.get("KUBECONFIG"):
        use_given_kubernetes()
        start_operator()
    else:
        start_kubernetes()
        install_operator()
    run_example()
    say(f"""Look around:
  eval "$(make -s kubeconfig)"
  kubectl describe dsk {CLUSTER}
  kubectl scale dsk {CLUSTER} --replicas 5
  {log_command()}
Stop:
  make down""")


def down():
    """Stop the operator and the local cluster of ``make demo`` and ``make cluster``; with ``--all``, all clusters without a session."""
    with step("stop the operator"):
        stop_operator()
    return subprocess.run([sys.executable, "tests/cluster", "down", *sys.argv[2:]], cwd=ROOT, check=False).returncode


def main():
    """Run ``up`` or ``down``, and return the exit code."""
    try:
        return {"up": up, "down": down}[sys.argv[1]]() or 0
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; `make demo` resumes, `make down` stops everything")
        return 130


if __name__ == "__main__":
    sys.exit(main())
