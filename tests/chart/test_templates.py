"""What the chart makes of values, compared with what was recorded (``UPDATE_GOLDEN=1`` records it anew)."""

import base64
import gzip
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from support import chart
from support.chart import CHART, VALUES
from support.cluster import ROOT

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_objects_are_as_recorded(file):
    """All objects but the CRDs, whose names alone are recorded."""
    text = chart.template(yaml.safe_load(file.read_text()))
    sections = [section for section in re.split(r"(?m)^---\n", text) if section.strip()]
    shown = []
    for section in sections:
        definition = re.search(r"^kind: CustomResourceDefinition\nmetadata:\n(?:  .*\n)*?  name: (\S+)", section, re.MULTILINE)
        shown.append(f"# CustomResourceDefinition {definition[1]}\n" if definition else section.rstrip() + "\n")
    seen = "---\n".join(shown)
    golden = GOLDEN / file.name
    if UPDATE:
        golden.write_text(seen)
    assert golden.exists(), "not recorded yet: run this with UPDATE_GOLDEN=1"
    assert seen == golden.read_text()


def test_nothing_else_is_recorded():
    assert {file.name for file in GOLDEN.iterdir()} == {file.name for file in VALUES}


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_helm_finds_no_fault(file):
    chart.helm("lint", "--strict", "--quiet", CHART, values=yaml.safe_load(file.read_text()))


def test_values_of_an_older_release_will_do():
    """`helm upgrade --reuse-values` has the values that there were then, and no defaults of others."""
    newer = {"cache": None, "networkPolicy": None,
             "plugins": {"allowTenantInterfaces": None, "tenantLimits": None, "authHosts": None}}
    (deployment,) = (made for made in chart.objects(chart.template(newer)) if made["kind"] == "Deployment")
    assert {"name": "cache", "emptyDir": {}} in deployment["spec"]["template"]["spec"]["volumes"]


def test_definitions_are_those_of_crds_and_stay():
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    made = {document["metadata"]["name"]: document for document in yaml.load_all(chart.template(), Loader=loader)
            if document and document["kind"] == "CustomResourceDefinition"}
    wanted = {document["metadata"]["name"]: document for document in
              (yaml.load(file.read_text(), Loader=loader) for file in (ROOT / "crds").glob("*.yaml"))}
    assert made.keys() == wanted.keys() and len(made) == 6
    for name, document in wanted.items():
        document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        assert made[name] == document


@pytest.mark.parametrize("values, option", [({}, None), ({"namespaces": ["team-a"]}, "--namespace team-a")])
def test_the_notes_can_be_pasted(values, option):
    """Each command names the namespace where that is not the caller's own."""
    text = chart.helm("install", "dask", CHART, "--namespace", "operators", "--dry-run=client", values=values)
    notes = text.partition("\nNOTES:\n")[2]
    commands = [line.strip() for line in notes.splitlines() if line.strip().startswith("kubectl ")]
    assert any("port-forward svc/simple-scheduler 8787" in command for command in commands), notes
    for command in commands:
        assert option is None or option in command or "--namespace operators" in command, command


def test_a_release_fits_into_its_secret():
    """Helm keeps chart and objects, compressed, in one Secret, which may have 1 MiB."""
    files = "".join(file.read_text() for file in CHART.rglob("*") if file.is_file())
    assert len(base64.b64encode(gzip.compress((files + chart.template()).encode()))) < 500_000


def test_the_schema_refuses_unknown_names_everywhere():
    """Wherever it lists names, others are refused."""
    def look(schema, path):
        if "properties" in schema:
            assert schema.get("additionalProperties") is False, path
        for name, part in schema.get("properties", {}).items():
            look(part, f"{path}.{name}")
        if "items" in schema:
            look(schema["items"], f"{path}[]")

    look(json.loads((CHART / "values.schema.json").read_text()), "")


def test_the_image_has_the_charts_version():
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    image = tomllib.loads((ROOT / "charts" / "image" / "operator.toml").read_text())
    name = f"{yaml.safe_load((CHART / 'values.yaml').read_text())['image']['name']}:{metadata['appVersion']}"
    assert metadata["appVersion"] == workspace == image["config"]["Labels"]["org.opencontainers.image.version"]
    assert image["name"] == name
