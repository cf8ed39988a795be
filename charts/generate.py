"""Generator of the chart's CRDs and of its README, from crds/ and values.yaml, and of the pages about both in docs/reference.

``python charts/generate.py`` writes these files. With ``--check`` it reports outdated files and exits with code 1 if there are any.
"""

import json
import re
import sys
from pathlib import Path

import yaml
from reference import cell, resources

CHART = Path(__file__).resolve().parent / "dask-kubernetes-operator"
ROOT = CHART.parents[1]
CRDS = ROOT / "crds"
PAGES = ROOT / "docs" / "reference"
#: Order of the resources on their page, by the names of their files.
KINDS = ["daskcluster", "daskworkergroup", "daskjob", "daskautoscaler", "daskplugin", "clusterdaskplugin"]

README = """\
<!-- Generated from values.yaml by `make generate`. -->
# {name}

{description}

```console
$ helm install dask charts/{name} --namespace dask-operator --create-namespace
```

[How to install, upgrade and uninstall it](../../docs/install.md), also in place of the chart of the predecessor.

## Values

{values}"""

PAGE = """\
<!-- Generated from the chart's values.yaml by `make generate`. -->
# Values of the chart

[Installing the operator](../install.md) explains the most common ones.

{values}"""

VALUES = """\
Each with its default. `values.schema.json` refuses a name that is misspelt.

| value | default | |
| --- | --- | --- |
{rows}
"""


def definition(text):
    """Return the chart's version of a CRD, which is kept when the release is uninstalled."""
    kept, count = re.subn(r"(?m)^metadata:\n", 'metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n', text, count=1)
    if count != 1 or "{{" in text:
        raise ValueError("a file in crds/ does not have the format that this program expects")
    return kept


def values(text):
    """Yield the path, the default and the description of each value. The description is the comment before the value."""
    comment, parents = [], []
    for line in text.splitlines():
        indented = len(line) - len(line.lstrip())
        if line.lstrip().startswith("# "):
            comment.append(line.strip()[2:])
        elif found := re.match(r" *([A-Za-z]+):", line):
            del parents[indented // 2:]
            parents.append(found[1])
            if comment:
                default = yaml.safe_load(text)
                for name in parents:
                    default = default[name]
                yield ".".join(parents), default, " ".join(comment)
            comment = []
        elif not line.strip():
            comment = []


def undescribed(defaults, described, path=()):
    """Yield the paths of values without a description, unless a parent or all of their children have one."""
    for name, value in defaults.items():
        here = (*path, name)
        if ".".join(here) in described:
            continue
        if isinstance(value, dict) and value:
            yield from undescribed(value, described, here)
        else:
            yield ".".join(here)


def table():
    """Return the text about all values."""
    text = (CHART / "values.yaml").read_text()
    found = list(values(text))
    missing = list(undescribed(yaml.safe_load(text), {path for path, _, _ in found}))
    if missing:
        raise ValueError(f"values.yaml: no comment before {', '.join(missing)}")
    rows = [f"| `{path}` | `{json.dumps(default)}` | {cell(description)} |" for path, default, description in found]
    return VALUES.format(rows="\n".join(rows))


def generated():
    """Return the text of each generated file by path."""
    files = {CHART / "files" / "crds" / file.name: definition(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    files[CHART / "README.md"] = README.format(name=chart["name"], description=chart["description"], values=table())
    files[PAGES / "values.md"] = PAGE.format(values=table())
    ordered = sorted(CRDS.glob("*.yaml"), key=lambda file: KINDS.index(file.stem))
    files[PAGES / "resources.md"] = resources(yaml.safe_load(file.read_text()) for file in ordered)
    return files


def main():
    """Write or check all generated files, and return the exit code."""
    wanted = generated()
    superfluous = set((CHART / "files" / "crds").glob("*")) - set(wanted)
    stale = sorted(superfluous | {path for path, text in wanted.items() if not path.exists() or path.read_text() != text})
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date: run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for path in superfluous:
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
