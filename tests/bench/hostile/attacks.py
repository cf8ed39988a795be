"""Attacks of the hostile tenant: ``attacks.py FILE``, where FILE is a JSON description of the target.

This is a separate process, so that it does not compete for the interpreter lock of the measuring process. It has the role ``admin``
in its namespaces, and can reach the webhook's port as every pod can. Attacks with large objects start after a line of standard input.
The process attacks until its standard input is closed, and then prints the counts of each attack as JSON.
"""

import functools
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import bodies
from hostile import JSON, ROUNDS, Counts, Hostile
from servers import Registry
from support.hook import unverified
from support.manifests import cluster
from support.waiting import until

#: Annotations that select the behaviour of the policy in ``policy/`` at admission and at the review of plans.
ADMISSION, REVIEW = "example.com/at-admission", "example.com/at-review"
#: Behaviours that the attacks select with these annotations.
AT_ADMISSION = ("loop", "memory", "slow", "trap", "copies", "depth", "objects", "findings", "large")
AT_REVIEW = ("loop", "memory", "slow", "trap", "findings", "large")
#: Number of misbehaving policies that each request must pass.
CHAIN = 3
#: Number of slow policies (the maximum that is loaded for a namespace), and the share of the maximum call duration (1 s) that each uses.
SLOW, SLOWNESS = 20, 0.95
#: Number of clusters whose plans the slow policies review.
REVIEWED = 4
#: Number of plugins with heavy settings and of clusters with a heavy spec, and the number of small objects in each.
HEAVY_PLUGINS, HEAVY_SETTINGS = 25, 150_000
HEAVY_CLUSTERS, HEAVY_SPEC = 16, 195_000
#: Number of small objects in a request that the webhook just accepts: 60 MiB of memory.
HEAVY_REQUEST = 78_000
#: Seconds until heavy objects are deleted. An operator that restarts in this time reads them again.
STAY = 60
#: Nested lists of items with equal keys: number of levels, of items of each list, and of clusters with such lists.
LEVELS, ITEMS, NESTED = 3, 30, 2
#: Seconds between two changes of many. A higher rate would only measure the speed of the API server.
BETWEEN = 0.25
#: Numbers of simultaneous connections to the webhook: silent ones, and those that send a request byte by byte (per thread).
SILENT, DRIPPING = 500, 16
#: Head of a request of unknown length.
ENDLESS = b"POST /validate?timeout=30s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Nice value of this session. If the kernel schedules by session, the nice value of a process counts only within its session.
AUTOGROUP = Path("/proc/self/autogroup")
#: Source address of requests that are not from the API server, whose address is also one of this machine.
STRANGER = ("127.0.0.2", 0)


@functools.cache
def text_of(make, *arguments):
    """Return the JSON of a large manifest, which is created only once."""
    return bodies.text(make(*arguments))


# Preparation ----------------------------------------------------------------


def policies(hostile):
    """Create misbehaving policies, and clusters whose plans they review."""
    # The clusters come first, because the policies would fail at their admission.
    for behaviour in AT_REVIEW:
        hostile.create("daskclusters", "policies", bodies.instructed(f"plan-{behaviour}", REVIEW, behaviour))
    hostile.await_pods("policies", len(AT_REVIEW))
    hostile.create("configmaps", "policies", bodies.config_map("policy", hostile.policy))
    for number in range(CHAIN):
        hostile.create("daskplugins", "policies", bodies.plugin(f"policy-{number}", bodies.from_config_map("policy")))
    hostile.await_policies("policies", "policy-", CHAIN)


def slow_policies(hostile):
    """Create the maximum number of policies, each as slow as is allowed, and clusters whose plans they review."""
    hostile.create("configmaps", "slow", bodies.config_map("policy", hostile.policy))
    hostile.create("daskplugins", "slow", bodies.plugin("slow-0", bodies.from_config_map("policy")))
    hostile.await_policies("slow", "slow-", 1)

    def seconds(rounds):
        begin = time.monotonic()
        hostile.create("daskclusters", "slow", bodies.instructed("measured", ADMISSION, f"rounds-{rounds}"), dryRun="All")
        return time.monotonic() - begin

    none = min(seconds(0) for _ in range(3))
    # The policy is called twice: by the mutating and by the validating webhook.
    each = max(min(seconds(ROUNDS) for _ in range(3)) - none, 0.01) / 2
    hostile.slow = f"rounds-{round(ROUNDS * SLOWNESS / each)}"
    # With all policies, the admission of the clusters would take too long.
    hostile.send("DELETE", hostile.url("daskplugins", "slow", "slow-0"))
    for number in range(REVIEWED):
        hostile.create("daskclusters", "slow", bodies.instructed(f"plan-{number}", REVIEW, hostile.slow))
    hostile.await_pods("slow", REVIEWED)
    for number in range(SLOW):
        hostile.create("daskplugins", "slow", bodies.plugin(f"slow-{number}", bodies.from_config_map("policy")))
    hostile.await_policies("slow", "slow-", SLOW)


def registry(hostile):
    """Create plugins from the hostile registry, which the operator queries repeatedly."""
    for repository in Registry.REPOSITORIES:
        image = f"{hostile.registry.address}/hostile/{repository}/plugin:1"
        hostile.create("daskplugins", "policies", bodies.plugin(f"registry-{repository}", {"oci": {"image": image}}, refreshSeconds=10))


def compilers(hostile):
    """Create plugins that exceed the limits of a compiler, in two namespaces, so that two are compiled at the same time."""
    for within, (kind, component) in zip(("policies", "plain"), bodies.hard_to_compile(hostile.policy).items(), strict=True):
        hostile.create("configmaps", within, bodies.config_map(f"compiler-{kind}", component))
        hostile.create("daskplugins", within, bodies.plugin(f"compiler-{kind}", bodies.from_config_map(f"compiler-{kind}")))


def components(hostile):
    """Create plugins that fail to load, each in a different way."""
    for file in sorted(Path(hostile.target["components"]).glob("*.wasm")):
        if file.stat().st_size < bodies.CONFIG_MAP:
            hostile.create("configmaps", "plain", bodies.config_map(file.stem, file.read_bytes()))
            hostile.create("daskplugins", "plain", bodies.plugin(f"component-{file.stem}", bodies.from_config_map(file.stem)))


def scheduler(hostile):
    """Create a cluster whose scheduler is the hostile one."""
    hostile.create("daskclusters", "plain", bodies.queried_cluster(hostile.scheduler.port))


def nested(hostile):
    """Create clusters whose worker groups have nested lists of items with equal keys."""
    items = bodies.same_keys(LEVELS, ITEMS)
    names = [f"nested-{number}" for number in range(NESTED)]
    for name in names:
        hostile.create("daskclusters", "plain", bodies.nested_cluster(name, items))
    groups = {f"{name}-default" for name in names}
    until(lambda: groups <= {group["metadata"]["name"] for group in hostile.server.list("daskworkergroups", hostile.namespaces["plain"])},
          "the groups of the nested clusters")


# Attacks ------------------------------------------------------------------------
# Each of these generators is called repeatedly, and yields the outcome of each try: "refused", "failed", or None for a success.


def misbehave_at_admission(hostile):
    """Create resources (by dry run) for which the misbehaving policies are called at admission."""
    for behaviour in AT_ADMISSION:
        yield hostile.create("daskclusters", "policies", bodies.instructed(f"ask-{behaviour}", ADMISSION, behaviour), dryRun="All")


def misbehave_at_review(hostile):
    """Change resources whose plans the misbehaving policies review, and their schedulers' pods.

    The changes leave the spec as it is, so that a failing policy does not refuse them.
    """
    for behaviour in AT_REVIEW:
        for resource, name in (("daskclusters", f"plan-{behaviour}"), ("pods", f"plan-{behaviour}-scheduler")):
            yield hostile.patch(resource, "policies", name, hostile.touched())


def slow_at_admission(hostile):
    """Create a resource (by dry run) that must pass all slow policies."""
    yield hostile.create("daskclusters", "slow", bodies.instructed("ask", ADMISSION, hostile.slow), dryRun="All")


def slow_at_review(hostile):
    """Change scheduler pods, so that plans for their clusters must pass all slow policies."""
    for number in range(REVIEWED):
        hostile.over.wait(BETWEEN)
        yield hostile.patch("pods", "slow", f"plan-{number}-scheduler", hostile.touched())


def unknown_fields(hostile):
    """Create a manifest (by dry run) of the maximum size that the API server accepts."""
    yield hostile.create("daskclusters", "plain", text_of(bodies.unknown_fields), dryRun="All", fieldValidation="Ignore")


def heavy_requests(hostile):
    """Create a manifest (by dry run) whose review needs nearly the maximum memory of a request."""
    yield hostile.create("daskclusters", "plain", text_of(bodies.heavy_cluster, "heavy", HEAVY_REQUEST), dryRun="All")


def heavy_plugins(hostile):
    """Create plugins whose settings need far more memory than their JSON. They do not have to be loadable."""
    made = text_of(bodies.heavy_plugin, "heavy-NUMBER", HEAVY_SETTINGS)
    for number in range(HEAVY_PLUGINS):
        yield hostile.create("daskplugins", "exempt", made.replace(b"NUMBER", b"%d" % number))
    hostile.over.wait(STAY)
    yield hostile.delete_all("daskplugins", "exempt", "attack=heavy")


def heavy_clusters(hostile):
    """Create clusters whose spec needs far more memory than its JSON, in a namespace without a webhook."""
    made = text_of(bodies.heavy_cluster, "heavy-NUMBER", HEAVY_SPEC)
    for number in range(HEAVY_CLUSTERS):
        yield hostile.create("daskclusters", "exempt", made.replace(b"NUMBER", b"%d" % number))
    # Cause repeated reconciles until the clusters are deleted.
    for number in range(HEAVY_CLUSTERS):
        if not hostile.over.wait(STAY / HEAVY_CLUSTERS):
            yield hostile.patch("daskclusters", "exempt", f"heavy-{number}", hostile.touched())
    yield hostile.delete_all("daskclusters", "exempt", "attack=heavy")


def equal_keys(hostile):
    """Reverse the nested lists of worker groups relative to their clusters, so that a diff needs many comparisons."""
    items = bodies.backwards(bodies.same_keys(LEVELS, ITEMS))
    for number in range(NESTED):
        change = hostile.touched(worker={"spec": {"nested": items}})
        yield hostile.patch("daskworkergroups", "plain", f"nested-{number}-default", change)


def flood(hostile):
    """Create and delete a cluster."""
    name = f"flood-{next(hostile.numbers)}"
    yield hostile.create("daskclusters", "policies", cluster(name, 0))
    yield hostile.send("DELETE", hostile.url("daskclusters", "policies", name))


def many_plugins(hostile):
    """Create more plugins than are loaded, one after another, and delete all with one request."""
    for number in range(hostile.target["many"]):
        hostile.over.wait(BETWEEN)
        yield hostile.create("daskplugins", "policies", bodies.plugin(f"many-{number}", bodies.from_config_map("nothing"), {"attack": "many"}))
    yield hostile.delete_all("daskplugins", "policies", "attack=many")


def reload(prefix, *namespaces):
    """Return an attack that changes plugins, so that they are fetched, compiled and tested again.

    The attack must not change the policies, which other attacks need to be active.
    """
    def act(hostile):
        for within in namespaces:
            for found in hostile.server.list("daskplugins", hostile.namespaces[within]):
                if found["metadata"]["name"].startswith(prefix):
                    hostile.over.wait(BETWEEN)
                    change = {"spec": {"limits": {"milliseconds": 500 + next(hostile.numbers) % 500}}}
                    yield hostile.patch("daskplugins", within, found["metadata"]["name"], change)
    return act


def silence(hostile):
    """Open connections to the webhook and do not complete the TLS handshake."""
    held = []
    for _ in range(SILENT):
        try:
            connection = socket.create_connection(tuple(hostile.target["webhook"]), timeout=5, source_address=STRANGER)
            held.append(connection)
            connection.sendall(b"\x16")
            yield None
        except OSError:
            yield "failed"
    hostile.over.wait(20)
    for connection in held:
        connection.close()


def drip(hostile):
    """Send requests of unknown length to the webhook, one byte at a time."""
    held = []
    for _ in range(DRIPPING):
        try:
            connection = socket.create_connection(tuple(hostile.target["webhook"]), timeout=5, source_address=STRANGER)
            held.append(unverified().wrap_socket(connection))
            held[-1].sendall(ENDLESS)
            yield None
        except OSError:
            yield "failed"
    while held and not hostile.over.wait(0.5):
        held = [connection for connection in held if send_byte(connection)]


def send_byte(connection):
    """Send another byte of an endless body, and return whether the connection is still open."""
    try:
        connection.sendall(b"1\r\n{\r\n")
        return True
    except OSError:
        connection.close()
        return False


def strangers(hostile):
    """Send an AdmissionReview to the webhook from an address that is not that of the API server."""
    host, port = hostile.target["webhook"]
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=unverified(), source_address=STRANGER)
    try:
        connection.request("POST", "/mutate?timeout=30s", bodies.review_bomb(), JSON)
        response = connection.getresponse()
        response.read()
        yield "refused" if response.status >= 400 else None
    except (OSError, http.client.HTTPException):
        yield "failed"
    finally:
        connection.close()


def received(server):
    """Return a passive attack by a hostile server, whose tries are the requests that it received."""
    def act(hostile):
        yield from [None] * getattr(hostile, server).new_tries()
    return act


class Attack(NamedTuple):
    """An attack: its generator, its preparation, its number of threads, and the pause in seconds before each repetition.

    A higher rate would only measure the speed of this machine. ``is_large`` is true for an attack with large objects, which cost the API
    server more than the operator.
    """

    act: Callable
    prepare: Callable | None = None
    threads: int = 1
    pause: float = 1
    is_large: bool = False


#: All attacks by name, in order of preparation. Policies come first, because the oldest plugins of a namespace are loaded.
ATTACKS = {
    "admission": Attack(misbehave_at_admission, policies, 4, 0.2),
    "review": Attack(misbehave_at_review, policies),
    "slow-admission": Attack(slow_at_admission, slow_policies, 4, 0.2),
    "slow-review": Attack(slow_at_review, slow_policies, 1, 3),
    "registry": Attack(received("registry"), registry),
    "registry-reload": Attack(reload("registry-", "policies"), registry, 1, 5),
    "compilers": Attack(reload("compiler-", "policies", "plain"), compilers, 1, 2),
    "components": Attack(reload("component-", "plain"), components, 1, 10),
    "scheduler": Attack(received("scheduler"), scheduler),
    "unknown-fields": Attack(unknown_fields, None, 1, 10, True),
    "heavy-requests": Attack(heavy_requests, None, 8, 20, True),
    "heavy-plugins": Attack(heavy_plugins, is_large=True),
    "heavy-clusters": Attack(heavy_clusters, is_large=True),
    "equal-keys": Attack(equal_keys, nested, 1, 10, True),
    "flood": Attack(flood, None, 2, 1),
    "many-plugins": Attack(many_plugins, None, 1, 30),
    "silence": Attack(silence),
    "drip": Attack(drip, None, 4, 1),
    "strangers": Attack(strangers, None, 2, 1),
}


def prepare(hostile, names):
    """Run the preparation of these attacks, each once."""
    for needed in dict.fromkeys(ATTACKS[name].prepare for name in ATTACKS if name in names):
        if needed:
            needed(hostile)


def repeat(hostile, name, counts):
    """Repeat an attack and count its outcomes until the end."""
    attack = ATTACKS[name]
    while not hostile.over.wait(attack.pause):
        try:
            for outcome in attack.act(hostile):
                counts.add(name, outcome)
                if hostile.over.is_set():
                    return
        except Exception as error:  # one failure must not end the thread
            counts.add(name, "failed")
            print(f"{name}: {error}", file=sys.stderr, flush=True)


def begin(hostile, names, counts):
    """Start the threads of these attacks."""
    for name in names:
        for _ in range(ATTACKS[name].threads):
            threading.Thread(target=repeat, args=(hostile, name, counts), daemon=True).start()


def main():
    """Prepare the attacks of the target description, run those without large objects, and after a line of standard input all."""
    # The attacks use only the time that other processes leave on any processor, because in production they come from other machines.
    os.nice(19)
    with suppress(OSError):  # this kernel does not schedule by session
        AUTOGROUP.write_text("19")
    target = json.loads(Path(sys.argv[1]).read_text())
    os.sched_setaffinity(0, target["processors"])
    hostile, counts = Hostile(target), Counts(target["attacks"])
    prepare(hostile, target["attacks"])
    print("attacks start", flush=True)
    begin(hostile, [name for name in target["attacks"] if not ATTACKS[name].is_large], counts)
    if sys.stdin.readline():
        begin(hostile, [name for name in target["attacks"] if ATTACKS[name].is_large], counts)
        sys.stdin.read()
    hostile.over.set()
    with counts.lock:
        print(json.dumps(counts.found), flush=True)


if __name__ == "__main__":
    main()
