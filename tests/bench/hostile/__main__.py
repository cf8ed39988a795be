"""Benchmark of a hostile tenant's effect on others: well-behaved tenants without and with one that attacks the operator.

See docs/development.md. ``tests/bench/hostile/run --help`` describes the arguments.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cluster")]

import attacks  # noqa: E402
import figures  # noqa: E402
import limited  # noqa: E402
import pytest  # noqa: E402
import trustme  # noqa: E402
from hostile import NAMESPACES  # noqa: E402
from localkube import scratch  # noqa: E402
from support import chart  # noqa: E402
from support.cluster import ROOT, define_resources, host_address, kubernetes  # noqa: E402
from support.hook import Hook, free_port  # noqa: E402
from support.kubectl import Kubectl, Refused, new_namespace  # noqa: E402
from support.waiting import until  # noqa: E402
from tenants import LATE, Tenant, Webhook  # noqa: E402

NAME, RANGE = "hostile", "198.19.224.0/19"
#: Program and crate that build the hostile policy.
BUILD = ("target/debug/dask-operator-plugin-build", "tests/bench/hostile/policy")
#: Program that writes the hostile components, which need no instruction.
COMPONENTS = "target/debug/examples/hostile"
POLICY = ROOT / "target" / "plugins" / "dask-operator-hostile-policy.wasm"


def chosen(text):
    """Parse comma-separated names of attacks, and return them in order of preparation."""
    names = text.split(",")
    unknown = sorted(set(names) - set(attacks.ATTACKS))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown attack {', '.join(unknown)}; known attacks are {', '.join(attacks.ATTACKS)}")
    return [name for name in attacks.ATTACKS if name in names]


def parse(arguments=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="tests/bench/hostile/run", description="Measures well-behaved tenants without and with a hostile one.")
    parser.add_argument("--attacks", type=chosen, default=list(attacks.ATTACKS), metavar="NAME,NAME",
                        help=f"attacks that run at the same time (default: all): {', '.join(attacks.ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=600, help="duration of the attacks without large objects in seconds (default: %(default)g)")
    parser.add_argument("--large", type=float, default=180, help="additional duration of attacks that include large objects in seconds (default: %(default)g)")
    parser.add_argument("--many", type=int, default=500, help="number of plugins that the attack many-plugins deletes with one request (default: %(default)s)")
    parser.add_argument("--alone", type=float, default=180, help="duration of the measurement without attacks in seconds (default: %(default)g)")
    parser.add_argument("--tenants", type=int, default=20, help="number of well-behaved tenants (default: %(default)s)")
    parser.add_argument("--period", type=float, default=6, help="seconds between two rounds of changes by a tenant (default: %(default)g)")
    parser.add_argument("--memory", default=limited.default_limit(), help="memory limit of the operator (default: that of the chart, %(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "target" / "hostile.json", help="output file of the figures (default: target/hostile.json)")
    options = parser.parse_args(arguments)
    if not options.large:
        options.attacks = [name for name in options.attacks if not attacks.ATTACKS[name].is_large]
    return options


def hostile_account(admin, namespaces, folder):
    """Create a service account with the role ``admin``, as extended by the chart, in these namespaces, and return its kubeconfig."""
    admin.apply(*chart.objects(chart.template(show=["templates/userroles.yaml"])))
    own = namespaces[0].namespace
    namespaces[0]("create", "serviceaccount", "tenant")
    for kubectl in namespaces:
        kubectl("create", "rolebinding", "tenant", "--clusterrole=admin", f"--serviceaccount={own}:tenant")
    file = folder / "tenant.kubeconfig"
    file.write_text(chart.kubeconfig(admin, own, "tenant"))
    tenant = Kubectl({**admin.environment, "KUBECONFIG": str(file)}, own)

    def may():
        try:
            return tenant("auth", "can-i", "create", "daskplugins.kubernetes.dask.org").strip() == "yes"
        except Refused:
            return False

    until(may, "the role admin to include the chart's permissions")
    return file


def well_behaved(environment, hook, arguments, samples):
    """Create the well-behaved tenants, and wait for the one worker of each."""
    made = []
    for number in range(arguments.tenants):
        kubectl = new_namespace(environment, f"tenant-{number}")
        hook.ask_for(kubectl)
        made.append(Tenant(kubectl, Webhook(hook.host, hook.port), samples, arguments.period))
        made[-1].prepare()
    for tenant in made:
        until(tenant.is_ready, f"the worker of {tenant.kubectl.namespace}")
    return made


class Kubelet(threading.Thread):
    """Marks the hostile tenant's scheduler pods as ready, with an address of this machine, because there is no node with a kubelet."""

    def __init__(self, kubectl, address):
        super().__init__(daemon=True)
        self.kubectl, self.address = kubectl, address
        self.over = threading.Event()

    def run(self):
        conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "conditions": conditions, "podIP": self.address, "podIPs": [{"ip": self.address}]}
        while not self.over.wait(1):
            try:
                for pod in self.kubectl.list("pods", "dask.org/component=scheduler,dask.org/cluster-name=queried"):
                    if pod["status"].get("podIP") != self.address:
                        self.kubectl.patch("pod", pod["metadata"]["name"], {"status": status}, subresource="status")
            except Refused:  # the pod was deleted meanwhile
                continue


@contextmanager
def attacked(environment, target, folder):
    """Run the attacks during the ``with`` block.

    Provides an empty list that contains the counts of the attacks afterwards, and the standard input of the attacks, where a line starts
    those with large objects. Both are None if the attacks could not start.
    """
    file = folder / "target.json"
    file.write_text(json.dumps(target))
    process = subprocess.Popen([sys.executable, HERE / "attacks.py", file], env={**environment, "PYTHONPATH": str(TESTS)}, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    found = []
    try:
        if process.stdout.readline().strip() != "attacks start":
            yield None, None
            return
        yield found, process.stdin
        output, _ = process.communicate(timeout=180)
        found.append(json.loads(output))
    finally:
        with suppress(ProcessLookupError):  # the process and its kubectl have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def build():
    """Build the hostile policy and components, and return the folder of the components that need no annotation."""
    subprocess.run([BUILD[0], "--out", POLICY.parent, BUILD[1]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    folder = POLICY.parent / "hostile"
    subprocess.run([COMPONENTS, folder], cwd=ROOT, check=True)
    return folder


def measure(environment, arguments, folder, processors):
    """Run the whole measurement and return the report."""
    admin = Kubectl(environment)
    define_resources(admin)
    host = host_address(RANGE)
    components = build()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(folder / "registry.pem")
    registry = {"port": free_port(host), "certificate": str(folder / "registry.pem")}
    sources = ["--allow-tenant-plugin-source", "configmap", "--allow-tenant-plugin-source", f"{host}:{registry['port']}/hostile/*"]
    samples = figures.Samples()
    with ExitStack() as stack:
        group = stack.enter_context(limited.Group(f"hostile-bench-{os.getpid()}", limited.size(arguments.memory)))
        limited.run_in(group, folder, processors)
        account = stack.enter_context(chart.account(admin, folder))
        hook = stack.enter_context(Hook(admin, host, folder, NAME, account, *sources, "--plugin-ca-file", str(folder / "ca.pem"),
                                        "--cache-dir", str(folder / "cache")))
        supervisor = limited.Supervisor(hook.operator)
        supervisor.start()
        stack.callback(supervisor.stop)
        # The namespaces are not deleted, because the cluster is.
        tenants = well_behaved(environment, hook, arguments, samples)
        hostile = {name: new_namespace(environment, f"{NAME}-{name}") for name in NAMESPACES}
        for name, kubectl in hostile.items():
            if name != "exempt":
                hook.ask_for(kubectl)
        kubeconfig = hostile_account(admin, list(hostile.values()), folder)
        for tenant in tenants:
            tenant.start()

        samples.phase = "alone"
        time.sleep(arguments.alone)
        samples.phase = None
        kubelet = Kubelet(hostile["plain"], host)
        kubelet.start()
        stack.callback(kubelet.over.set)
        target = {"kubeconfig": str(kubeconfig), "path": environment["PATH"], "host": host, "webhook": [host, hook.port], "registry": registry,
                  "namespaces": {name: kubectl.namespace for name, kubectl in hostile.items()}, "policy": str(POLICY),
                  "components": str(components), "attacks": arguments.attacks, "many": arguments.many,
                  "processors": sorted(processors | os.sched_getaffinity(0))}
        # The preparation of the attacks may already end the operator.
        supervisor.reset()
        with attacked(environment, target, folder) as (counts, orders):
            if counts is not None:
                beside(tenants, samples, arguments, orders)
        operator = {"restarts": list(supervisor.restarts), "out_of_memory": group.kills(), "limit": group.limit, "limited": group.exists,
                    "peak": group.peak(), "resident": supervisor.resident}
        return {"tenants": arguments.tenants, "seconds": {"alone": arguments.alone, "beside": arguments.seconds, "large": arguments.large}, **samples.figures(),
                "operator": operator, "attacks": counts and counts[0]}


def beside(tenants, samples, arguments, orders):
    """Measure the well-behaved tenants during the attacks, first without and then with large objects."""
    samples.phase = "beside"
    time.sleep(arguments.seconds)
    if arguments.large:
        samples.phase = "large"
        orders.write("large objects, too\n")
        orders.flush()
        time.sleep(arguments.large)
    for tenant in tenants:
        tenant.stop()
    # The attacks continue until the current operations have ended.
    for tenant in tenants:
        tenant.join(3 * LATE)
    samples.phase = None


def main():
    """Run the measurement, print the results and the failures, and return the exit code."""
    arguments = parse()
    if os.environ.get("KUBECONFIG"):
        sys.exit("hostile: this benchmark must not run on an existing cluster: unset KUBECONFIG")
    processors, others = map(set, limited.split_processors())
    # All processes that are started from here on, except the operator and the attacks, use these processors. The attacks have a low
    # priority, so that they take no time from the API server and the measurement: in production they are on other machines.
    os.sched_setaffinity(0, others)
    with suppress(PermissionError):
        os.nice(-10)
    with scratch.folder() as folder, kubernetes(NAME, RANGE, node=False) as environment:
        report = measure(environment, arguments, folder.path, processors)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(figures.table(report))
    print(f"JSON report: {arguments.json}")
    found = figures.failures(report)
    for message in found:
        print(f"FAILED: {message}")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pytest.exit.Exception as error:
        sys.exit(f"hostile: {error}")
