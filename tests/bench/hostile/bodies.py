"""What the hostile tenant sends: manifests and requests that are small as bytes and large as anything else. No I/O."""

import base64
import functools
import itertools
import json
import string

from support.manifests import API, changed, cluster

#: Fields that nobody knows, in one manifest.
FIELDS = 200_000
#: A ConfigMap holds a component of this size at most.
CONFIG_MAP = 1_000_000
#: Of an object that takes some 650 bytes of memory and seven of text, with its comma.
SMALL = '{"":0}'


def text(value):
    """A value as the shortest JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def small_objects(count):
    """A list of so many objects that are small as text only."""
    return [{"": 0}] * count


def unknown_fields(count=FIELDS):
    """A DaskCluster with that many fields of a pod spec that nobody knows."""
    names = itertools.islice(itertools.product(string.ascii_lowercase, repeat=4), count)
    spec = {"".join(name): 0 for name in names}
    made = cluster("unknown-fields", 0)
    made["spec"]["worker"]["spec"] = {**spec, **made["spec"]["worker"]["spec"]}
    return made


def heavy_cluster(name, objects):
    """A DaskCluster with so many small objects in the pod spec of its workers."""
    made = cluster(name, 0, labels={"attack": "heavy"})
    made["spec"]["worker"]["spec"]["heavy"] = small_objects(objects)
    return made


def same_keys(levels, count, last=0):
    """Lists in lists whose items all have one key, and differ from each other in their very last leaf."""
    items = []
    for number in range(count):
        mark = last if number == count - 1 else levels * count + number
        items.append({"name": "a", "value": mark} if levels == 1 else {"name": "a", "items": same_keys(levels - 1, count, mark)})
    return items


def backwards(items):
    """The same lists with all items in the opposite order."""
    return [{**item, "items": backwards(item["items"])} if "items" in item else item for item in reversed(items)]


def nested_cluster(name, items):
    """A DaskCluster with such lists in the pod spec of its workers."""
    made = cluster(name, 0)
    made["spec"]["worker"]["spec"]["nested"] = items
    return made


@functools.cache
def review_bomb(size=4 << 20):
    """An AdmissionReview of nearly this many bytes, of very many small objects."""
    objects = ",".join([SMALL] * ((size - 4096) // (len(SMALL) + 1)))
    spec = f'{{"a":[{objects}]}}'
    kind = '{"group":"kubernetes.dask.org","version":"v1","kind":"DaskCluster"}'
    resource = '{"group":"kubernetes.dask.org","version":"v1","resource":"daskclusters"}'
    return (f'{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"0","kind":{kind},"resource":{resource},'
            '"name":"bomb","namespace":"default","operation":"CREATE","userInfo":{"username":"nobody"},'
            f'"object":{{"apiVersion":"{API}","kind":"DaskCluster","metadata":{{"name":"bomb","namespace":"default"}},"spec":{spec}}}}}}}'
            ).encode()


def told(name, annotation, behaviour):
    """A cluster without workers whose policies are told to misbehave."""
    return cluster(name, 0, annotations={annotation: behaviour})


def asked_cluster(port):
    """A cluster whose scheduler is asked again and again, at this port of its pod: its Service has no address of its own."""
    made = changed(cluster("asked", 0), "spec.idleTimeout", 3600)
    made["spec"]["scheduler"]["service"].update(clusterIP="None", ports=[
        {"name": "tcp-comm", "port": port}, {"name": "http-dashboard", "port": 8787}])
    return made


def config_map(name, component):
    """A ConfigMap with a component."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "binaryData": {"plugin.wasm": base64.b64encode(component).decode()}}


def from_config_map(name):
    """A plugin's source: that ConfigMap."""
    return {"configMap": {"name": name, "key": "plugin.wasm"}}


def plugin(name, source, labels=None, **spec):
    """A DaskPlugin."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": name, "labels": labels or {}}, "spec": {"source": source, **spec}}


def heavy_plugin(name, objects):
    """A DaskPlugin with so many small objects in its settings. Whether it can be loaded is no matter."""
    return plugin(name, from_config_map("nothing"), {"attack": "heavy"}, settings={"a": small_objects(objects)})


# WebAssembly ---------------------------------------------------------------


def leb(value):
    """A number as WebAssembly has it (unsigned LEB128)."""
    more, low = divmod(value, 128)
    return bytes([low | 128]) + leb(more) if more else bytes([low])


def sized(content):
    """Bytes, and before them how many there are."""
    return leb(len(content)) + content


def section(number, items):
    """A section of a module: a list."""
    return bytes([number]) + sized(leb(len(items)) + b"".join(items))


def jumps(functions, blocks, values):
    """A core module of functions that each consist of one jump out of so many blocks in one another, to any of them, with so many
    values (63 at most) that it passes on. What a compiler takes for one grows with the square of the blocks: a function of 20 kB,
    with 4,000 blocks and 32 values, has made it take 3 GB."""
    number, long = b"\x7f", b"\x7e"
    types = [b"\x60" + sized(number) + leb(0), b"\x60" + leb(0) + leb(values) + long * values]
    block = b"\x02\x01"  # of the second type
    constants = b"".join(b"\x42" + leb(value) for value in range(values))
    jump = b"\x20\x00\x0e" + leb(blocks) + b"".join(map(leb, range(blocks))) + leb(0)
    body = leb(0) + block * blocks + constants + jump + b"\x0b" * blocks + b"\x1a" * values + b"\x0b"
    return (b"\0asm\x01\0\0\0" + section(1, types) + section(3, [leb(0)] * functions) + section(10, [sized(body)] * functions))


def with_module(component, module):
    """A component with one more core module in it, which nothing in it uses, and which is compiled all the same."""
    return component + b"\x01" + sized(module)


def hard_to_compile(component):
    """Two components within the bounds of what a tenant's may consist of, by a name: one takes more memory than a compiler may
    have, the other a third of its time."""
    return {"memory": with_module(component, jumps(1, 4000, 32)), "time": with_module(component, jumps(60, 1000, 32))}
