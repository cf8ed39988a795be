"""Manifests in each of which one field is invalid or unusual, for every field of a manifest."""

import copy

import yaml

#: Marks that a mutation does not apply to a value.
NONE = object()


def of_value(name, value):
    """Return a value with the mutation of this name, or NONE if it does not apply or changes nothing."""
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

#: YAML scalars that parsers interpret differently.
WRITTEN = ["on", "no", "True", "~", "0755", "0o17", "0x1F", "0b11", "1_000", "1e3", "1.0", "+5", "12:30", "2026-01-01", "1.5Gi",
           "'on'", '"8787"', "!!str 5"]
#: Paths that receive each of :data:`WRITTEN`: strings, a quantity, and integers, booleans and int-or-string fields of
#: Kubernetes and of the Dask resources.
PLACES = [
    "spec.worker.spec.containers.0.env.0.value",
    "spec.worker.spec.containers.0.resources.requests.cpu",
    "spec.worker.spec.terminationGracePeriodSeconds",
    "spec.worker.spec.hostNetwork",
    "spec.worker.metadata.labels.team",
    "spec.idleTimeout",
    "spec.worker.updateStrategy.maxSurge",
    "spec.suspend",
    "spec.scheduler.service.ports.0.targetPort",
]
_HERE = "written-here"


def places(value, at=()):
    """Yield the path of every field and element below a value, as tuples of keys and indices."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


def at(manifest, path):
    """Return the value at a path."""
    for key in path:
        manifest = manifest[key]
    return manifest


def mutations(manifest):
    """Yield pairs of a title and a copy of the manifest with one change in ``spec``, the labels or the annotations."""
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


class _Quoted(yaml.SafeDumper):
    """YAML dumper that quotes all strings, so that all versions of YAML read them alike."""

    def represent_str(self, text):
        """Represent a string in double quotes."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Quoted.add_representer(str, _Quoted.represent_str)


def text_of(manifest):
    """Return a manifest as YAML."""
    return yaml.dump(manifest, Dumper=_Quoted, allow_unicode=True, sort_keys=False, width=10**6)


def writings(manifest):
    """Yield pairs of a title and the YAML of a manifest with one of :data:`WRITTEN` at one of :data:`PLACES`."""
    for place in PLACES:
        *parents, last = (int(key) if key.isdecimal() else key for key in place.split("."))
        changed = copy.deepcopy(manifest)
        at(changed, parents)[last] = _HERE
        text = text_of(changed)
        assert text.count(_HERE) == 1, place
        for written in WRITTEN:
            yield f"{place} is written {written}", text.replace(f'"{_HERE}"', written)
