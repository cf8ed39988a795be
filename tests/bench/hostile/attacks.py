"""The hostile tenant: attacks.py FILE, whose JSON says where to attack. A process of its own, so that it takes no turns from who measures.

It has the rights of ``admin`` in its namespaces, and can reach the webhook's port as every pod can. It attacks until its standard
input ends, and prints how often it did what.
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
from hostile import JSON, ROUNDS, Counts, Hostile, unverified
from servers import Registry
from support.manifests import cluster
from support.waiting import until

#: The annotations that tell the policy of ``policy/`` what to do at admission, and when plans are reviewed.
ADMISSION, REVIEW = "example.com/at-admission", "example.com/at-review"
#: What it is told.
AT_ADMISSION = ("loop", "memory", "slow", "trap", "copies", "depth", "objects", "findings", "large")
AT_REVIEW = ("loop", "memory", "slow", "trap", "findings", "large")
#: How many of them a request has to pass, each of them as slow as it may be.
CHAIN = 3
#: How many slow policies: so many of a namespace are loaded. How long a call of one takes, of the second that it may take.
SLOW, SLOWNESS = 20, 0.95
#: Clusters whose plans the slow policies review.
REVIEWED = 4
#: Plugins with heavy settings, and clusters with a heavy spec: how many, and of how many small objects each.
HEAVY_PLUGINS, HEAVY_SETTINGS = 25, 150_000
HEAVY_CLUSTERS, HEAVY_SPEC = 16, 195_000
#: Small objects of a request that the webhook still reads: 60 MiB of memory.
HEAVY_REQUEST = 78_000
#: Seconds that what is heavy stays: an operator that is started again reads it again.
STAYS = 60
#: Lists of one key: levels, items of each list, clusters with them.
LEVELS, ITEMS, NESTED = 3, 30, 2
#: Seconds between two changes of many: faster would only show how fast the API server is.
BETWEEN = 0.25
#: Connections to the webhook at a time: that say nothing, and whose requests come drop by drop.
SILENT, DRIPPING = 500, 16
#: A request whose length is not known.
ENDLESS = b"POST /validate?timeout=30s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
#: How nice this session is to others: where the kernel shares processors out by session, a process is nice to its own only.
AUTOGROUP = Path("/proc/self/autogroup")
#: Where strangers come from: not from the API server's address, which is this machine's as well.
STRANGER = ("127.0.0.2", 0)


@functools.cache
def text_of(make, *arguments):
    """The text of a large manifest, which is made once."""
    return bodies.text(make(*arguments))


# What it has there before ---------------------------------------------------


def policies(hostile):
    """Policies that misbehave, and clusters whose plans they review."""
    # Afterwards, the policies would fail when these are admitted.
    for behaviour in AT_REVIEW:
        hostile.create("daskclusters", "policies", bodies.told(f"plan-{behaviour}", REVIEW, behaviour))
    hostile.await_pods("policies", len(AT_REVIEW))
    hostile.create("configmaps", "policies", bodies.config_map("policy", hostile.policy))
    for number in range(CHAIN):
        hostile.create("daskplugins", "policies", bodies.plugin(f"policy-{number}", bodies.from_config_map("policy")))
    hostile.await_policies("policies", "policy-", CHAIN)


def slow_policies(hostile):
    """As many policies as there may be, each as slow as it may be, and clusters whose plans they review."""
    hostile.create("configmaps", "slow", bodies.config_map("policy", hostile.policy))
    hostile.create("daskplugins", "slow", bodies.plugin("slow-0", bodies.from_config_map("policy")))
    hostile.await_policies("slow", "slow-", 1)

    def seconds(rounds):
        begin = time.monotonic()
        hostile.create("daskclusters", "slow", bodies.told("measured", ADMISSION, f"rounds-{rounds}"), dryRun="All")
        return time.monotonic() - begin

    none = min(seconds(0) for _ in range(3))
    # The policy is asked twice, before the object is complete and afterwards.
    each = max(min(seconds(ROUNDS) for _ in range(3)) - none, 0.01) / 2
    hostile.slowly = f"rounds-{round(ROUNDS * SLOWNESS / each)}"
    # With the policies, it would take too long to admit these.
    hostile.send("DELETE", hostile.url("daskplugins", "slow", "slow-0"))
    for number in range(REVIEWED):
        hostile.create("daskclusters", "slow", bodies.told(f"plan-{number}", REVIEW, hostile.slowly))
    hostile.await_pods("slow", REVIEWED)
    for number in range(SLOW):
        hostile.create("daskplugins", "slow", bodies.plugin(f"slow-{number}", bodies.from_config_map("policy")))
    hostile.await_policies("slow", "slow-", SLOW)


def registry(hostile):
    """Plugins of a registry that answers as it likes, and is asked again and again."""
    for repository in Registry.REPOSITORIES:
        image = f"{hostile.registry.address}/hostile/{repository}/plugin:1"
        hostile.create("daskplugins", "policies", bodies.plugin(f"registry-{repository}", {"oci": {"image": image}}, refreshSeconds=10))


def compilers(hostile):
    """Plugins that take more of a compiler than it may take: in two namespaces, so that there are two at once."""
    for within, (kind, component) in zip(("policies", "plain"), bodies.hard_to_compile(hostile.policy).items(), strict=True):
        hostile.create("configmaps", within, bodies.config_map(f"compiler-{kind}", component))
        hostile.create("daskplugins", within, bodies.plugin(f"compiler-{kind}", bodies.from_config_map(f"compiler-{kind}")))


def components(hostile):
    """Plugins that fail when they are loaded, each in another way."""
    for file in sorted(Path(hostile.place["components"]).glob("*.wasm")):
        if file.stat().st_size < bodies.CONFIG_MAP:
            hostile.create("configmaps", "plain", bodies.config_map(file.stem, file.read_bytes()))
            hostile.create("daskplugins", "plain", bodies.plugin(f"component-{file.stem}", bodies.from_config_map(file.stem)))


def scheduler(hostile):
    """A cluster whose scheduler is the fake one."""
    hostile.create("daskclusters", "plain", bodies.asked_cluster(hostile.scheduler.port))


def nested(hostile):
    """Clusters whose groups have lists in lists of one key."""
    items = bodies.same_keys(LEVELS, ITEMS)
    names = [f"nested-{number}" for number in range(NESTED)]
    for name in names:
        hostile.create("daskclusters", "plain", bodies.nested_cluster(name, items))
    groups = {f"{name}-default" for name in names}
    until(lambda: groups <= {group["metadata"]["name"] for group in hostile.server.list("daskworkergroups", hostile.namespaces["plain"])},
          "the groups of the nested clusters")


# What it does ----------------------------------------------------------------
# Each of these is called again and again, and yields how each try ended: None is well.


def misbehave_at_admission(hostile):
    """Resources that its policies are asked about."""
    for behaviour in AT_ADMISSION:
        yield hostile.create("daskclusters", "policies", bodies.told(f"ask-{behaviour}", ADMISSION, behaviour), dryRun="All")


def misbehave_at_review(hostile):
    """Resources whose plans its policies review. They and their schedulers are changed again and again; what leaves a spec as it
    is, a policy that fails does not refuse."""
    for behaviour in AT_REVIEW:
        for resource, name in (("daskclusters", f"plan-{behaviour}"), ("pods", f"plan-{behaviour}-scheduler")):
            yield hostile.patch(resource, "policies", name, hostile.touched())


def slow_at_admission(hostile):
    """Requests that have to pass all slow policies."""
    yield hostile.create("daskclusters", "slow", bodies.told("ask", ADMISSION, hostile.slowly), dryRun="All")


def slow_at_review(hostile):
    """Plans that have to pass all slow policies: those of clusters whose scheduler's pod has changed."""
    for number in range(REVIEWED):
        hostile.over.wait(BETWEEN)
        yield hostile.patch("pods", "slow", f"plan-{number}-scheduler", hostile.touched())


def fields_that_nobody_knows(hostile):
    """A manifest as large as the API server takes."""
    yield hostile.create("daskclusters", "plain", text_of(bodies.unknown_fields), dryRun="All", fieldValidation="Ignore")


def heavy_requests(hostile):
    """Requests that take nearly as much memory as one may take."""
    yield hostile.create("daskclusters", "plain", text_of(bodies.heavy_cluster, "heavy", HEAVY_REQUEST), dryRun="All")


def heavy_plugins(hostile):
    """Plugins whose settings take far more memory than text; whether they can be loaded is no matter."""
    made = text_of(bodies.heavy_plugin, "heavy-NUMBER", HEAVY_SETTINGS)
    for number in range(HEAVY_PLUGINS):
        yield hostile.create("daskplugins", "unasked", made.replace(b"NUMBER", b"%d" % number))
    hostile.over.wait(STAYS)
    yield hostile.delete_all("daskplugins", "unasked", "attack=heavy")


def heavy_clusters(hostile):
    """Clusters that take far more memory than text, from before there was a webhook."""
    made = text_of(bodies.heavy_cluster, "heavy-NUMBER", HEAVY_SPEC)
    for number in range(HEAVY_CLUSTERS):
        yield hostile.create("daskclusters", "unasked", made.replace(b"NUMBER", b"%d" % number))
    # Each of them is reconciled again, as long as they are there.
    for number in range(HEAVY_CLUSTERS):
        if not hostile.over.wait(STAYS / HEAVY_CLUSTERS):
            yield hostile.patch("daskclusters", "unasked", f"heavy-{number}", hostile.touched())
    yield hostile.delete_all("daskclusters", "unasked", "attack=heavy")


def equal_keys(hostile):
    """Groups whose lists have another order than those of their clusters: what differs takes many comparisons to say."""
    items = bodies.backwards(bodies.same_keys(LEVELS, ITEMS))
    for number in range(NESTED):
        change = hostile.touched(worker={"spec": {"nested": items}})
        yield hostile.patch("daskworkergroups", "plain", f"nested-{number}-default", change)


def flood(hostile):
    """Clusters that come and go."""
    name = f"flood-{next(hostile.numbers)}"
    yield hostile.create("daskclusters", "policies", cluster(name, 0))
    yield hostile.send("DELETE", hostile.url("daskclusters", "policies", name))


def many_plugins(hostile):
    """Plugins beyond those that are loaded, which come one after another, and all go at once."""
    for number in range(hostile.place["many"]):
        hostile.over.wait(BETWEEN)
        yield hostile.create("daskplugins", "policies", bodies.plugin(f"many-{number}", bodies.from_config_map("nothing"), {"attack": "many"}))
    yield hostile.delete_all("daskplugins", "policies", "attack=many")


def reload(prefix, *namespaces):
    """Plugins that are changed, so that they are fetched, compiled and tried again. Not the policies: others need them in force."""
    def act(hostile):
        for within in namespaces:
            for found in hostile.server.list("daskplugins", hostile.namespaces[within]):
                if found["metadata"]["name"].startswith(prefix):
                    hostile.over.wait(BETWEEN)
                    change = {"spec": {"limits": {"milliseconds": 500 + next(hostile.numbers) % 500}}}
                    yield hostile.patch("daskplugins", within, found["metadata"]["name"], change)
    return act


def silence(hostile):
    """Connections to the webhook that begin and go no further."""
    held = []
    for _ in range(SILENT):
        try:
            connection = socket.create_connection(tuple(hostile.place["webhook"]), timeout=5, source_address=STRANGER)
            held.append(connection)
            connection.sendall(b"\x16")
            yield None
        except OSError:
            yield "failed"
    hostile.over.wait(20)
    for connection in held:
        connection.close()


def drip(hostile):
    """Requests whose bodies come a byte at a time, and never say how long they are."""
    held = []
    for _ in range(DRIPPING):
        try:
            connection = socket.create_connection(tuple(hostile.place["webhook"]), timeout=5, source_address=STRANGER)
            held.append(unverified().wrap_socket(connection))
            held[-1].sendall(ENDLESS)
            yield None
        except OSError:
            yield "failed"
    while held and not hostile.over.wait(0.5):
        held = [connection for connection in held if goes_on(connection)]


def goes_on(connection):
    """Send one byte more of an endless body; whether that was taken."""
    try:
        connection.sendall(b"1\r\n{\r\n")
        return True
    except OSError:
        connection.close()
        return False


def strangers(hostile):
    """AdmissionReviews from somebody who is no API server."""
    host, port = hostile.place["webhook"]
    connection = http.client.HTTPSConnection(host, port, timeout=30, context=unverified(), source_address=STRANGER)
    try:
        connection.request("POST", "/mutate?timeout=30s", bodies.review_bomb(), JSON)
        answer = connection.getresponse()
        answer.read()
        yield "refused" if answer.status >= 400 else None
    except (OSError, http.client.HTTPException):
        yield "failed"
    finally:
        connection.close()


def asked(server):
    """Nothing but to be asked: tries are what a server was asked."""
    def act(hostile):
        yield from [None] * getattr(hostile, server).new_tries()
    return act


class Attack(NamedTuple):
    """An attack: what is done again and again, what has to be there before, in how many threads, and the pause after each time. More
    would only show how fast this machine is. One with large objects costs the API server more than the operator."""

    act: Callable
    prepare: Callable | None = None
    threads: int = 1
    pause: float = 1
    is_large: bool = False


#: All attacks by their names; what they need is made in this order. Policies come first: of a namespace, the oldest are loaded.
ATTACKS = {
    "admission": Attack(misbehave_at_admission, policies, 4, 0.2),
    "review": Attack(misbehave_at_review, policies),
    "slow-admission": Attack(slow_at_admission, slow_policies, 4, 0.2),
    "slow-review": Attack(slow_at_review, slow_policies, 1, 3),
    "registry": Attack(asked("registry"), registry),
    "registry-reload": Attack(reload("registry-", "policies"), registry, 1, 5),
    "compilers": Attack(reload("compiler-", "policies", "plain"), compilers, 1, 2),
    "components": Attack(reload("component-", "plain"), components, 1, 10),
    "scheduler": Attack(asked("scheduler"), scheduler),
    "unknown-fields": Attack(fields_that_nobody_knows, None, 1, 10, True),
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
    """Have there what these attacks need."""
    for needed in dict.fromkeys(ATTACKS[name].prepare for name in ATTACKS if name in names):
        if needed:
            needed(hostile)


def repeat(hostile, name, counts):
    """An attack, again and again."""
    attack = ATTACKS[name]
    while not hostile.over.wait(attack.pause):
        try:
            for outcome in attack.act(hostile):
                counts.add(name, outcome)
                if hostile.over.is_set():
                    return
        except Exception as error:  # an attack that fails must not end all the others of its kind
            counts.add(name, "failed")
            print(f"{name}: {error}", file=sys.stderr, flush=True)


def begin(hostile, names, counts):
    """Begin these attacks."""
    for name in names:
        for _ in range(ATTACKS[name].threads):
            threading.Thread(target=repeat, args=(hostile, name, counts), daemon=True).start()


def main():
    """Attack; with large objects, too, after a line of standard input."""
    # What is left of any processor, and nothing else: elsewhere, attacks come from other machines.
    os.nice(19)
    with suppress(OSError):  # this kernel does not share processors out by session
        AUTOGROUP.write_text("19")
    place = json.loads(Path(sys.argv[1]).read_text())
    os.sched_setaffinity(0, place["processors"])
    hostile, counts = Hostile(place), Counts(place["attacks"])
    prepare(hostile, place["attacks"])
    print("attacks begin", flush=True)
    begin(hostile, [name for name in place["attacks"] if not ATTACKS[name].is_large], counts)
    if sys.stdin.readline():
        begin(hostile, [name for name in place["attacks"] if ATTACKS[name].is_large], counts)
        sys.stdin.read()
    hostile.over.set()
    with counts.lock:
        print(json.dumps(counts.found), flush=True)


if __name__ == "__main__":
    main()
