"""Manifests and requests of the hostile tenant, which are small as bytes and expensive to process. Pure."""

import base64
import functools
import itertools
import json
import string

from support.manifests import API, changed, cluster

#: Number of unknown fields in one manifest.
FIELDS = 200_000
#: Maximum size of a component in a ConfigMap, in bytes.
CONFIG_MAP = 1_000_000
#: JSON of an object that needs about 650 bytes of memory and seven bytes of text, including the comma.
SMALL = '{"":0}'


def text(value):
    """Return a value as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def small_objects(count):
    """Return a list of objects whose JSON is small."""
    return [{"": 0}] * count


def unknown_fields(count=FIELDS):
    """Return a DaskCluster with ``count`` unknown fields in a pod spec."""
    names = itertools.islice(itertools.product(string.ascii_lowercase, repeat=4), count)
    spec = {"".join(name): 0 for name in names}
    made = cluster("unknown-fields", 0)
    made["spec"]["worker"]["spec"] = {**spec, **made["spec"]["worker"]["spec"]}
    return made


def heavy_cluster(name, objects):
    """Return a DaskCluster with this number of small objects in the pod spec of its workers."""
    made = cluster(name, 0, labels={"attack": "heavy"})
    made["spec"]["worker"]["spec"]["heavy"] = small_objects(objects)
    return made


def same_keys(levels, count, last=0):
    """Return nested lists of ``count`` items with equal keys, any two of which differ only in their last leaf."""
    items = []
    for number in range(count):
        mark = last if number == count - 1 else levels * count + number
        items.append({"name": "a", "value": mark} if levels == 1 else {"name": "a", "items": same_keys(levels - 1, count, mark)})
    return items


def backwards(items):
    """Return nested lists with the items of all lists in reverse order."""
    return [{**item, "items": backwards(item["items"])} if "items" in item else item for item in reversed(items)]


def nested_cluster(name, items):
    """Return a DaskCluster with nested lists in the pod spec of its workers."""
    made = cluster(name, 0)
    made["spec"]["worker"]["spec"]["nested"] = items
    return made


@functools.cache
def review_bomb(size=4 << 20):
    """Return an AdmissionReview of at most ``size`` bytes with as many small objects as possible."""
    objects = ",".join([SMALL] * ((size - 4096) // (len(SMALL) + 1)))
    spec = f'{{"a":[{objects}]}}'
    kind = '{"group":"kubernetes.dask.org","version":"v1","kind":"DaskCluster"}'
    resource = '{"group":"kubernetes.dask.org","version":"v1","resource":"daskclusters"}'
    return (f'{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"0","kind":{kind},"resource":{resource},'
            '"name":"bomb","namespace":"default","operation":"CREATE","userInfo":{"username":"tenant"},'
            f'"object":{{"apiVersion":"{API}","kind":"DaskCluster","metadata":{{"name":"bomb","namespace":"default"}},"spec":{spec}}}}}}}'
            ).encode()


def instructed(name, annotation, behaviour):
    """Return a DaskCluster without workers whose annotation selects a behaviour of the hostile policy."""
    return cluster(name, 0, annotations={annotation: behaviour})


def queried_cluster(port):
    """Return a DaskCluster whose scheduler the operator queries repeatedly, at this port of its pod, because its Service is headless."""
    made = changed(cluster("queried", 0), "spec.idleTimeout", 3600)
    made["spec"]["scheduler"]["service"].update(clusterIP="None", ports=[
        {"name": "tcp-comm", "port": port}, {"name": "http-dashboard", "port": 8787}])
    return made


def config_map(name, component):
    """Return a ConfigMap with a component."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "binaryData": {"plugin.wasm": base64.b64encode(component).decode()}}


def from_config_map(name):
    """Return the plugin source of a ConfigMap."""
    return {"configMap": {"name": name, "key": "plugin.wasm"}}


def plugin(name, source, labels=None, **spec):
    """Return a DaskPlugin."""
    return {"apiVersion": API, "kind": "DaskPlugin", "metadata": {"name": name, "labels": labels or {}}, "spec": {"source": source, **spec}}


def heavy_plugin(name, objects):
    """Return a DaskPlugin with this number of small objects in its settings. It does not have to be loadable."""
    return plugin(name, from_config_map("nothing"), {"attack": "heavy"}, settings={"a": small_objects(objects)})


# WebAssembly ---------------------------------------------------------------


def leb(value):
    """Return a number in the encoding of WebAssembly (unsigned LEB128)."""
    more, low = divmod(value, 128)
    return bytes([low | 128]) + leb(more) if more else bytes([low])


def sized(content):
    """Return bytes with a length prefix."""
    return leb(len(content)) + content


def section(number, items):
    """Return a section of a module: its number and a list of items."""
    return bytes([number]) + sized(leb(len(items)) + b"".join(items))


def jumps(functions, blocks, values):
    """Return a core module whose functions each consist of one jump table out of nested blocks.

    The jump has every block as a target and passes ``values`` values (at most 63). The compiler's cost grows with the square of the
    number of blocks: for one function of 20 kB, with 4,000 blocks and 32 values, it used 3 GB.
    """
    number, long = b"\x7f", b"\x7e"
    types = [b"\x60" + sized(number) + leb(0), b"\x60" + leb(0) + leb(values) + long * values]
    block = b"\x02\x01"  # of the second type
    constants = b"".join(b"\x42" + leb(value) for value in range(values))
    jump = b"\x20\x00\x0e" + leb(blocks) + b"".join(map(leb, range(blocks))) + leb(0)
    body = leb(0) + block * blocks + constants + jump + b"\x0b" * blocks + b"\x1a" * values + b"\x0b"
    return (b"\0asm\x01\0\0\0" + section(1, types) + section(3, [leb(0)] * functions) + section(10, [sized(body)] * functions))


def with_module(component, module):
    """Return a component with an additional core module, which is unused and still compiled."""
    return component + b"\x01" + sized(module)


def hard_to_compile(component):
    """Return two components, by name, that are within the structural limits of tenants' components.

    ``memory`` needs more memory than a compiler may use, ``time`` a third of its time limit.
    """
    return {"memory": with_module(component, jumps(1, 4000, 32)), "time": with_module(component, jumps(60, 1000, 32))}
