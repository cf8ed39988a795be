"""The page of docs/reference about the fields of the resources, from their CRDs."""

import json

HEAD = """\
<!-- Generated from crds/ by `make generate`. -->
# Fields of the resources

All resources are of the API version `kubernetes.dask.org/v1`. `kubectl explain KIND.FIELD` prints the same descriptions. `[]`
after the name of a field stands for each item of a list. Fields whose description names a type of Kubernetes, such as PodSpec,
have the fields of that type.
"""

SECTION = """
## {kind}

{description}

| field | type | default | |
| --- | --- | --- | --- |
{rows}
"""


def cell(text):
    """Return text for a cell of a table in Markdown."""
    return text.replace("|", r"\|")


def kind_of(schema):
    """Return the type of a field in words, with the values that are allowed."""
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema.get("type") == "array":
        return f"list of {kind_of(schema['items'])}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    words = schema.get("type", "any")
    low, high = (f"{schema[bound]:g}" if bound in schema else None for bound in ("minimum", "maximum"))
    if low and high:
        return f"{words}, {low} to {high}"
    return f"{words}, {low} or more" if low else f"{words}, {high} or less" if high else words


def fields(schema, known, path=""):
    """Yield the path, the type, the default and the description of each field that has a description.

    Fields without one belong to types of Kubernetes. ``known`` has the properties of schemas whose fields are on the page
    already, and a link to the place: they are not repeated.
    """
    for name, field in schema.get("properties", {}).items():
        if "description" not in field:
            continue
        here = f"{path}.{name}".lstrip(".")
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        inner = field.get("items", field)
        place = next((place for properties, place in known if properties == inner.get("properties")), None)
        description = field["description"] + (f" The fields are those of {place}." if place else "")
        yield here, kind_of(field), "required" if name in schema.get("required", ()) else default, description
        if not place:
            yield from fields(inner, known, here + ("[]" if "items" in field else ""))


def resources(definitions):
    """Return the text of the page for CRDs."""
    page, known = HEAD, []
    for definition in definitions:
        kind = definition["spec"]["names"]["kind"]
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        rows = [f"| `{path}` | {words} | {default} | {cell(text)} |" for path, words, default, text in fields(schema, known)]
        page += SECTION.format(kind=kind, description=schema["description"], rows="\n".join(rows))
        spec, status = schema["properties"]["spec"], schema["properties"]["status"]
        link = f"of a [{kind}](#{kind.lower()})"
        known.append((spec["properties"], f"`spec` {link}"))
        known.append((status["properties"]["conditions"]["items"]["properties"], f"`status.conditions` {link}"))
    return page
