"""What a hostile tenant costs the others: well-behaved tenants are measured alone, and beside one who does all that a tenant can.

See docs/development.md. ``tests/bench/hostile/run --help`` says what can be chosen.
"""

import argparse
import ipaddress
import json
import os
import signal
import subprocess
import sys
import tempfile
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
from support import chart  # noqa: E402
from support.cluster import ROOT, define_resources, kubernetes  # noqa: E402
from support.hook import Hook, free_port  # noqa: E402
from support.kubectl import Kubectl, Refused, new_namespace  # noqa: E402
from support.waiting import until  # noqa: E402
from tenants import LATE, Tenant, Webhook  # noqa: E402

NAME, RANGE = "hostile", "198.19.224.0/19"
#: Programs and crates that the hostile tenant's components are made with.
BUILD = ("target/debug/dask-operator-plugin-build", "tests/bench/hostile/policy")
COMPONENTS = "target/debug/examples/hostile"
POLICY = ROOT / "target" / "plugins" / "dask-operator-hostile-policy.wasm"


def chosen(text):
    """Names of attacks, in the order in which they are prepared."""
    names = text.split(",")
    unknown = sorted(set(names) - set(attacks.ATTACKS))
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no attack {', '.join(unknown)}; there are {', '.join(attacks.ATTACKS)}")
    return [name for name in attacks.ATTACKS if name in names]


def parse(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/bench/hostile/run", description="Well-behaved tenants beside a hostile one.")
    parser.add_argument("--attacks", type=chosen, default=list(attacks.ATTACKS), metavar="NAME,NAME",
                        help=f"which, all at the same time (default: all): {', '.join(attacks.ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=600, help="how long the attacks take (default: %(default)g)")
    parser.add_argument("--large", type=float, default=180, help="how long it then sends large objects, too (default: %(default)g)")
    parser.add_argument("--many", type=int, default=500, help="plugins that many-plugins deletes at once (default: %(default)s)")
    parser.add_argument("--alone", type=float, default=180, help="seconds without them, before (default: %(default)g)")
    parser.add_argument("--tenants", type=int, default=20, help="well-behaved ones (default: %(default)s)")
    parser.add_argument("--period", type=float, default=6, help="seconds between two changes of a tenant (default: %(default)g)")
    parser.add_argument("--memory", default=limited.default_limit(), help="the operator's limit (default: the chart's, %(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "target" / "hostile.json", help="where the figures go (default: target/hostile.json)")
    found = parser.parse_args(arguments)
    if not found.large:
        found.attacks = [name for name in found.attacks if not attacks.ATTACKS[name].is_large]
    return found


def hostile_account(admin, namespaces, folder):
    """The kubeconfig of a tenant with the role ``admin`` in these namespaces, as the chart's roles make it."""
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

    until(may, "the role admin to have the chart's rights")
    return file


def well_behaved(environment, hook, arguments, samples):
    """The other tenants, each with a cluster of one worker that is there."""
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
    """Says of the hostile tenant's schedulers that they are ready, at an address of this machine: there is no node that does."""

    def __init__(self, kubectl, address):
        super().__init__(daemon=True)
        self.kubectl, self.address = kubectl, address
        self.over = threading.Event()

    def run(self):
        conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "conditions": conditions, "podIP": self.address, "podIPs": [{"ip": self.address}]}
        while not self.over.wait(1):
            try:
                for pod in self.kubectl.list("pods", "dask.org/component=scheduler,dask.org/cluster-name=asked"):
                    if pod["status"].get("podIP") != self.address:
                        self.kubectl.patch("pod", pod["metadata"]["name"], {"status": status}, subresource="status")
            except Refused:  # it went meanwhile
                continue


@contextmanager
def attacked(environment, place, folder):
    """Attack meanwhile. Gives an empty list, in which afterwards is what that came to, and where to say that more shall be done; None
    where the attacks could not begin."""
    file = folder / "place.json"
    file.write_text(json.dumps(place))
    process = subprocess.Popen([sys.executable, HERE / "attacks.py", file], env={**environment, "PYTHONPATH": str(TESTS)}, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    found = []
    try:
        if process.stdout.readline().strip() != "attacks begin":
            yield None, None
            return
        yield found, process.stdin
        said, _ = process.communicate(timeout=180)
        found.append(json.loads(said))
    finally:
        with suppress(ProcessLookupError):  # it has ended, and so has its kubectl
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def build():
    """Make the hostile components; the folder of those that need no annotation."""
    subprocess.run([BUILD[0], "--out", POLICY.parent, BUILD[1]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    folder = POLICY.parent / "hostile"
    subprocess.run([COMPONENTS, folder], cwd=ROOT, check=True)
    return folder


def measure(environment, arguments, folder, processors):
    """All of it; the report."""
    admin = Kubectl(environment)
    define_resources(admin)
    host = str(ipaddress.ip_network(RANGE)[-3])
    components = build()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(folder / "registry.pem")
    registry = {"port": free_port(host), "certificate": str(folder / "registry.pem")}
    sources = ["--allow-tenant-plugin-source", "configmap", "--allow-tenant-plugin-source", f"{host}:{registry['port']}/hostile/*"]
    samples = figures.Samples()
    with ExitStack() as stack:
        group = stack.enter_context(limited.Group(f"hostile-bench-{os.getpid()}", limited.size(arguments.memory)))
        limited.use(group, folder, processors)
        account = stack.enter_context(chart.account(admin, folder))
        hook = stack.enter_context(Hook(admin, host, folder, NAME, account, *sources, "--plugin-ca-file", str(folder / "ca.pem"),
                                        "--cache-dir", str(folder / "cache")))
        keeper = limited.Keeper(hook.operator)
        keeper.start()
        stack.callback(keeper.stop)
        # The namespaces end with the cluster.
        good = well_behaved(environment, hook, arguments, samples)
        hostile = {name: new_namespace(environment, f"{NAME}-{name}") for name in NAMESPACES}
        for name, kubectl in hostile.items():
            if name != "unasked":
                hook.ask_for(kubectl)
        kubeconfig = hostile_account(admin, list(hostile.values()), folder)
        for tenant in good:
            tenant.start()

        samples.phase = "alone"
        time.sleep(arguments.alone)
        samples.phase = None
        kubelet = Kubelet(hostile["plain"], host)
        kubelet.start()
        stack.callback(kubelet.over.set)
        place = {"kubeconfig": str(kubeconfig), "path": environment["PATH"], "host": host, "webhook": [host, hook.port], "registry": registry,
                 "namespaces": {name: kubectl.namespace for name, kubectl in hostile.items()}, "policy": str(POLICY),
                 "components": str(components), "attacks": arguments.attacks, "many": arguments.many,
                 "processors": sorted(processors | os.sched_getaffinity(0))}
        # What has to be there for an attack may end the operator already.
        keeper.begin()
        with attacked(environment, place, folder) as (came_to, orders):
            if came_to is not None:
                beside(good, samples, arguments, orders)
        operator = {"restarts": list(keeper.restarts), "out_of_memory": group.kills(), "limit": group.limit, "limited": group.is_there,
                    "peak": group.peak(), "resident": keeper.resident}
        return {"tenants": arguments.tenants, "seconds": {"alone": arguments.alone, "beside": arguments.seconds, "large": arguments.large}, **samples.figures(),
                "operator": operator, "attacks": came_to and came_to[0]}


def beside(good, samples, arguments, orders):
    """Measure the well-behaved tenants while they are attacked."""
    samples.phase = "beside"
    time.sleep(arguments.seconds)
    if arguments.large:
        samples.phase = "large"
        orders.write("large objects, too\n")
        orders.flush()
        time.sleep(arguments.large)
    for tenant in good:
        tenant.stop()
    # What is under way still happens beside the attacks.
    for tenant in good:
        tenant.join(3 * LATE)
    samples.phase = None


def main():
    """Measure, and say what must not be."""
    arguments = parse()
    if os.environ.get("KUBECONFIG"):
        sys.exit("hostile: this is no test for somebody's cluster: unset KUBECONFIG")
    processors, others = map(set, limited.parted())
    # All that is started from here on has these, but for the operator. The attacks, which are nice, take none from the API server and
    # from who measures: elsewhere they are on other machines.
    os.sched_setaffinity(0, others)
    with suppress(PermissionError):
        os.nice(-10)
    with tempfile.TemporaryDirectory() as folder, kubernetes(NAME, RANGE, node=False) as environment:
        report = measure(environment, arguments, Path(folder), processors)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(figures.table(report))
    print(f"The same as JSON: {arguments.json}")
    found = figures.failures(report)
    for sentence in found:
        print(f"FAILED: {sentence}")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pytest.exit.Exception as error:
        sys.exit(f"hostile: {error}")
