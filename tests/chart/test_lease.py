"""Two operators with the chart's rights and one lease: one writes, the other goes on when that one is gone."""

import os
import signal
import time
from contextlib import contextmanager

import pytest
from support import chart, manifests
from support.cluster import define_resources
from support.dask import WORKERS
from support.kubectl import Kubectl, await_end, drop_namespace, new_namespace
from support.operator import Operator
from support.waiting import stays, until

#: Seconds within which writes have to go on after the leader was killed, on a busy machine.
KILLED = 60
#: What every replica writes: for its lease, and for the webhook that all of them answer.
ITS_OWN = ("leases", "secrets", "selfsubjectreviews", "mutatingwebhookconfigurations", "validatingwebhookconfigurations")
#: So that a scale-up takes long enough to be interrupted.
PORTIONS = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
SLOWLY = {f"{PORTIONS}BATCH_SIZE": "4", f"{PORTIONS}DELAY": "1"}


@pytest.fixture(scope="module")
def defined(api_server):
    """kubectl, with the Dask resources defined."""
    define_resources(api_server)
    return api_server


@contextmanager
def replicas(admin, folder, *names):
    """kubectl in the namespace that operators look after, the operators, and what tells who holds the lease that they share."""
    kubectl = new_namespace(admin.environment, "lease")
    operators = []
    try:
        with chart.account(admin, folder) as account:
            for name in names:
                (folder / name).mkdir()
                arguments = ("--namespace", kubectl.namespace, *account.arguments(lease_seconds=10), "--lease-identity", name)
                operators.append(Operator({**account.environment, **SLOWLY}, folder / name, *arguments).start())
            lease = Kubectl(admin.environment, account.name)
            yield kubectl, operators, lambda: lease.get("lease", account.name)["spec"].get("holderIdentity")
    finally:
        for operator in operators:
            operator.stop()
        drop_namespace(kubectl)
        await_end(admin.environment, [kubectl.namespace])


def leads(operator):
    """Whether it says that it does."""
    return operator.metric("dask_operator_leader") == 1


def writes(operator):
    """How many of its requests were to change something, those about itself aside."""
    return operator.writes(apart_from=ITS_OWN)


def by_turns(operators):
    """Wait until one of two leads; that one, then the other."""
    until(lambda: sum(map(leads, operators)) == 1, "one operator to lead")
    return sorted(operators, key=leads, reverse=True)


def pods(kubectl):
    """The ids of the workers by their names."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.list("pods", WORKERS)}


def test_one_writes_and_another_goes_on(defined, tmp_path):
    with replicas(defined, tmp_path, "a", "b") as (kubectl, operators, holder):
        leader, follower = by_turns(operators)
        kubectl.apply(manifests.cluster("c", 12))
        until(lambda: len(pods(kubectl)) == 12, "the workers")
        leader.wait_until_quiet()
        assert writes(leader) > 12 and writes(follower) == 0
        assert leads(leader) and not leads(follower)

        # Killed in the midst of a scale-up: the other goes on, and no pod is there twice.
        before = pods(kubectl)
        kubectl("scale", "daskworkergroup", "c-default", "--replicas=40")
        until(lambda: len(pods(kubectl)) > 15, "some more workers")
        leader.kill()
        killed = time.monotonic()
        there = len(pods(kubectl))
        assert there < 40, "the kill came too late"
        until(lambda: len(pods(kubectl)) > there, "the other operator to go on", KILLED)
        resumed = time.monotonic() - killed
        assert resumed < KILLED and leads(follower)
        until(lambda: len(pods(kubectl)) == 40, "all workers")
        assert before.items() <= pods(kubectl).items()
        stays(lambda: len(pods(kubectl)) == 40, "40 workers", 3)

        # The first comes back and stands by; then the second says goodbye.
        leader.start()
        assert not leads(leader)
        kubectl("scale", "daskworkergroup", "c-default", "--replicas=60")
        until(lambda: len(pods(kubectl)) > 45, "some more workers")
        goes = holder()
        follower.process.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        follower.process.wait(timeout=60)
        assert holder() != goes, "it ended without giving the lease back"
        until(lambda: leads(leader), "the first to lead again", KILLED, 0.02)
        handed_over = time.monotonic() - stopped
        until(lambda: len(pods(kubectl)) == 60, "all workers")
        leader.wait_until_quiet()
        assert len(pods(kubectl)) == 60
        print(f"writes went on {resumed:.1f} s after a kill; another led {handed_over:.2f} s after a goodbye")


def test_a_leader_that_is_held_up_gives_way(defined, tmp_path):
    """A process that was stopped for longer than its lease does not write when it goes on."""
    with replicas(defined, tmp_path, "a", "b") as (kubectl, operators, _):
        leader, follower = by_turns(operators)
        leader.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: leads(follower), "the other to lead", KILLED)
            kubectl.apply(manifests.cluster("c", 2))
            until(lambda: len(pods(kubectl)) == 2, "the workers")
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
        leader.process.wait(timeout=60)
        assert leader.process.returncode == 1
        assert "so that" in leader.tail().splitlines()[-1] and "lease" in leader.tail().splitlines()[-1]
        assert leads(follower)
