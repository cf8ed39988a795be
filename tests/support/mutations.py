"""Manifests with one thing wrong, or unusual, in each: every field of a manifest in turn."""

import copy

#: There is no such mutation of a value.
NONE = object()


def of_value(name, value):
    """A value changed in the way of this name, or NONE."""
    kind = type(value)
    changes = {
        "null": None,
        "empty": {str: "", int: 0, dict: {}, list: []}.get(kind, NONE),
        "of another type": {str: 7, int: "seven", bool: "yes", dict: "text", list: {"a": "b"}}.get(kind, NONE),
        "huge": {str: "x" * 5000, int: 10**18}.get(kind, NONE),
        "negative": {int: -1}.get(kind, NONE),
        "a fraction": {int: 1.5}.get(kind, NONE),
        "not ASCII": {str: "über–💥"}.get(kind, NONE),
        "as YAML 1.1 reads it": {str: True, int: "0o17", bool: "on"}.get(kind, NONE),
        "with a line break": {str: f"{value}\n"}.get(kind, NONE),
    }
    change = changes[name]
    return NONE if type(change) is kind and change == value else change


VALUES = ["null", "empty", "of another type", "huge", "negative", "a fraction", "not ASCII", "as YAML 1.1 reads it", "with a line break"]
KEYS = ["misspelt", "one level too high"]


def places(value, at=()):
    """The path of everything below a value, as tuples of keys and positions."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def at(manifest, path):
    """What stands at a path."""
    for key in path:
        manifest = manifest[key]
    return manifest


def mutations(manifest):
    """Pairs of a title and a copy of the manifest with one change in ``spec``, the labels or the annotations."""
    parts = [("spec",), ("metadata", "labels"), ("metadata", "annotations")]
    paths = [path for part in parts if part[-1] in at(manifest, part[:-1]) for path in places(at(manifest, part), part)]
    for path in paths:
        title = ".".join(map(str, path))
        for name in VALUES:
            value = of_value(name, at(manifest, path))
            if value is not NONE:
                changed = copy.deepcopy(manifest)
                at(changed, path[:-1])[path[-1]] = value
                yield f"{title} is {name}", changed
        if not isinstance(path[-1], str):
            continue
        changed = copy.deepcopy(manifest)
        parent = at(changed, path[:-1])
        parent[path[-1][:-2] + path[-1][:-3:-1] + "x"] = parent.pop(path[-1])
        yield f"{title} is {KEYS[0]}", changed
        if len(path) > 2 and isinstance(at(manifest, path[:-2]), dict) and path[-1] not in at(manifest, path[:-2]):
            changed = copy.deepcopy(manifest)
            at(changed, path[:-2])[path[-1]] = at(changed, path[:-1]).pop(path[-1])
            yield f"{title} is {KEYS[1]}", changed
