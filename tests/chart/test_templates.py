"""Comparison of rendered objects with recorded ones (``UPDATE_GOLDEN=1`` records them), and other checks of the chart's files."""

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
def test_objects_match_the_recorded_ones(file):
    """All objects are compared. Of the CRDs only the names are recorded."""
    text = chart.template(yaml.safe_load(file.read_text()))
    sections = [section for section in re.split(r"(?m)^---\n", text) if section.strip()]
    normalized = []
    for section in sections:
        definition = re.search(r"^kind: CustomResourceDefinition\nmetadata:\n(?:  .*\n)*?  name: (\S+)", section, re.MULTILINE)
        normalized.append(f"# CustomResourceDefinition {definition[1]}\n" if definition else section.rstrip() + "\n")
    rendered = "---\n".join(normalized)
    golden = GOLDEN / file.name
    if UPDATE:
        golden.write_text(rendered)
    assert golden.exists(), "not recorded yet: run this with UPDATE_GOLDEN=1"
    assert rendered == golden.read_text()


def test_each_recorded_file_has_values():
    assert {file.name for file in GOLDEN.iterdir()} == {file.name for file in VALUES}


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_helm_lint_passes(file):
    chart.helm("lint", "--strict", "--quiet", CHART, values=yaml.safe_load(file.read_text()))


def test_values_of_an_older_release_are_accepted():
    """`helm upgrade --reuse-values` uses the values of the older release, without defaults for newer values."""
    newer = {"cache": None, "networkPolicy": None,
             "plugins": {"allowTenantInterfaces": None, "tenantLimits": None, "authHosts": None}}
    (deployment,) = (item for item in chart.objects(chart.template(newer)) if item["kind"] == "Deployment")
    assert {"name": "cache", "emptyDir": {}} in deployment["spec"]["template"]["spec"]["volumes"]


def test_definitions_match_crds_and_are_kept_on_uninstall():
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rendered_crds = {document["metadata"]["name"]: document for document in yaml.load_all(chart.template(), Loader=loader)
            if document and document["kind"] == "CustomResourceDefinition"}
    expected = {document["metadata"]["name"]: document for document in
              (yaml.load(file.read_text(), Loader=loader) for file in (ROOT / "crds").glob("*.yaml"))}
    assert rendered_crds.keys() == expected.keys() and len(rendered_crds) == 6
    for name, document in expected.items():
        document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        assert rendered_crds[name] == document


@pytest.mark.parametrize("values, option", [({}, None), ({"namespaces": ["team-a"]}, "--namespace team-a")])
def test_commands_in_the_notes_name_their_namespace(values, option):
    """Each command of the notes can be pasted: it names the namespace unless that is the user's current one."""
    text = chart.helm("install", "dask", CHART, "--namespace", "operators", "--dry-run=client", values=values)
    notes = text.partition("\nNOTES:\n")[2]
    commands = [line.strip() for line in notes.splitlines() if line.strip().startswith("kubectl ")]
    assert any("port-forward svc/simple-scheduler 8787" in command for command in commands), notes
    for command in commands:
        assert option is None or option in command or "--namespace operators" in command, command


def test_a_release_fits_into_one_secret():
    """Helm stores the compressed chart and objects in one Secret, which is limited to 1 MiB."""
    files = "".join(file.read_text() for file in CHART.rglob("*") if file.is_file())
    assert len(base64.b64encode(gzip.compress((files + chart.template()).encode()))) < 500_000


def test_the_schema_refuses_unknown_properties_at_every_level():
    """Each object schema that lists properties refuses other properties."""
    def check(schema, path):
        if "properties" in schema:
            assert schema.get("additionalProperties") is False, path
        for name, part in schema.get("properties", {}).items():
            check(part, f"{path}.{name}")
        if "items" in schema:
            check(schema["items"], f"{path}[]")

    check(json.loads((CHART / "values.schema.json").read_text()), "")


def test_the_image_has_the_version_of_the_chart():
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    image = tomllib.loads((ROOT / "charts" / "image" / "operator.toml").read_text())
    name = f"{yaml.safe_load((CHART / 'values.yaml').read_text())['image']['name']}:{metadata['appVersion']}"
    assert metadata["appVersion"] == workspace == image["config"]["Labels"]["org.opencontainers.image.version"]
    assert image["name"] == name
