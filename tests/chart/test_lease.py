"""Leader election of two operators with the chart's permissions: only the leader writes, and the follower takes over."""

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

#: Maximum number of seconds from the kill of the leader to the next write, on a busy machine.
FAILOVER = 60
#: Resources that every replica writes: for leader election, and for the webhook, which all replicas serve.
OWN_RESOURCES = ("leases", "secrets", "selfsubjectreviews", "mutatingwebhookconfigurations", "validatingwebhookconfigurations")
#: Settings that make a scale-up slow enough to be interrupted.
PORTIONS = "DASK_KUBERNETES__CONTROLLER__WORKER_ALLOCATION__"
SLOW_SCALE_UP = {f"{PORTIONS}BATCH_SIZE": "4", f"{PORTIONS}DELAY": "1"}


@pytest.fixture(scope="module")
def with_crds(api_server):
    """kubectl, with the CRDs of the Dask resources installed."""
    define_resources(api_server)
    return api_server


@contextmanager
def replicas(admin, folder, *names):
    """Starts operators that share a lease. Yields kubectl in their namespace, the operators, and a function that returns the
    identity of the lease holder."""
    kubectl = new_namespace(admin.environment, "lease")
    operators = []
    try:
        with chart.account(admin, folder) as account:
            for name in names:
                (folder / name).mkdir()
                arguments = ("--namespace", kubectl.namespace, *account.arguments(lease_seconds=10), "--lease-identity", name)
                operators.append(Operator({**account.environment, **SLOW_SCALE_UP}, folder / name, *arguments).start())
            lease = Kubectl(admin.environment, account.name)
            yield kubectl, operators, lambda: lease.get("lease", account.name)["spec"].get("holderIdentity")
    finally:
        for operator in operators:
            operator.stop()
        drop_namespace(kubectl)
        await_end(admin.environment, [kubectl.namespace])


def is_leader(operator):
    """Returns whether the operator reports that it is the leader."""
    return operator.metric("dask_operator_leader") == 1


def writes(operator):
    """Number of write requests of an operator, without those about leader election and the webhook."""
    return operator.writes(apart_from=OWN_RESOURCES)


def leader_and_follower(operators):
    """Waits until exactly one of two operators leads. Returns the leader, then the follower."""
    until(lambda: sum(map(is_leader, operators)) == 1, "exactly one leader")
    return sorted(operators, key=is_leader, reverse=True)


def pods(kubectl):
    """UIDs of the workers by name."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in kubectl.list("pods", WORKERS)}


def test_only_the_leader_writes_and_the_follower_takes_over(with_crds, tmp_path):
    with replicas(with_crds, tmp_path, "a", "b") as (kubectl, operators, lease_holder):
        leader, follower = leader_and_follower(operators)
        kubectl.apply(manifests.cluster("c", 12))
        until(lambda: len(pods(kubectl)) == 12, "the workers")
        leader.wait_until_quiet()
        assert writes(leader) > 12 and writes(follower) == 0
        assert is_leader(leader) and not is_leader(follower)

        # The leader is killed during a scale-up. The follower continues, and no worker is created twice.
        before = pods(kubectl)
        kubectl("scale", "daskworkergroup", "c-default", "--replicas=40")
        until(lambda: len(pods(kubectl)) > 15, "some more workers")
        leader.kill()
        killed_at = time.monotonic()
        count_at_kill = len(pods(kubectl))
        assert count_at_kill < 40, "the kill came too late"
        until(lambda: len(pods(kubectl)) > count_at_kill, "the follower to continue", FAILOVER)
        resumed = time.monotonic() - killed_at
        assert resumed < FAILOVER and is_leader(follower)
        until(lambda: len(pods(kubectl)) == 40, "all workers")
        assert before.items() <= pods(kubectl).items()
        stays(lambda: len(pods(kubectl)) == 40, "40 workers", 3)

        # The first operator restarts as a follower. Then the second one shuts down and releases the lease.
        leader.start()
        assert not is_leader(leader)
        kubectl("scale", "daskworkergroup", "c-default", "--replicas=60")
        until(lambda: len(pods(kubectl)) > 45, "some more workers")
        old_holder = lease_holder()
        follower.process.send_signal(signal.SIGTERM)
        stopped_at = time.monotonic()
        follower.process.wait(timeout=60)
        assert lease_holder() != old_holder, "the operator exited without releasing the lease"
        until(lambda: is_leader(leader), "the first operator to lead again", FAILOVER, 0.02)
        handed_over = time.monotonic() - stopped_at
        until(lambda: len(pods(kubectl)) == 60, "all workers")
        leader.wait_until_quiet()
        assert len(pods(kubectl)) == 60
        print(f"writes resumed {resumed:.1f} s after a kill; a new leader was elected {handed_over:.2f} s after a graceful shutdown")


def test_a_leader_that_was_paused_beyond_its_lease_exits(with_crds, tmp_path):
    """A process that was paused for longer than its lease must not write when it resumes."""
    with replicas(with_crds, tmp_path, "a", "b") as (kubectl, operators, _):
        leader, follower = leader_and_follower(operators)
        leader.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: is_leader(follower), "the follower to lead", FAILOVER)
            kubectl.apply(manifests.cluster("c", 2))
            until(lambda: len(pods(kubectl)) == 2, "the workers")
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
        leader.process.wait(timeout=60)
        assert leader.process.returncode == 1
        assert "so that" in leader.tail().splitlines()[-1] and "lease" in leader.tail().splitlines()[-1]
        assert is_leader(follower)
