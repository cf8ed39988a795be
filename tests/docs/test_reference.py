"""The pages of docs/reference."""

import re
import sys

import pytest
from support.cluster import ROOT

sys.path.insert(0, str(ROOT / "charts"))

from reference import fields, kind_of  # noqa: E402

REPLICAS = {"type": "integer", "description": "Number.", "minimum": 0.0, "default": 1}


@pytest.mark.parametrize("schema, kind", [
    ({"type": "string"}, "string"),
    ({"type": "string", "enum": ["a", "b"]}, "`a`, `b`"),
    ({"type": "array", "items": {"type": "object"}}, "list of object"),
    ({"type": "integer", "minimum": 1.0, "maximum": 3600.0}, "integer, 1 to 3600"),
    ({"type": "integer", "minimum": 0.0}, "integer, 0 or more"),
    ({"type": "integer", "maximum": 5}, "integer, 5 or less"),
    ({"x-kubernetes-int-or-string": True}, "integer or string"),
])
def test_types_have_their_limits(schema, kind):
    assert kind_of(schema) == kind


def test_fields_are_listed_with_those_inside_them():
    group = {"type": "array", "description": "Groups.", "items": {"type": "object", "properties": {"replicas": REPLICAS}}}
    assert list(fields({"properties": {"groups": group}, "required": ["groups"]}, [])) == [
        ("groups", "list of object", "required", "Groups."),
        ("groups[].replicas", "integer, 0 or more", "`1`", "Number."),
    ]


def test_fields_of_kubernetes_are_left_out_and_known_ones_linked():
    pod = {"type": "object", "description": "A PodSpec.", "properties": {"hostNetwork": {"type": "boolean"}}}
    spec = {"type": "object", "description": "A spec.", "properties": {"replicas": REPLICAS}}
    listed = list(fields({"properties": {"pod": pod, "spec": spec}}, [({"replicas": REPLICAS}, "`spec` elsewhere")]))
    assert listed == [
        ("pod", "object", "", "A PodSpec."),
        ("spec", "object", "", "A spec. The fields are those of `spec` elsewhere."),
    ]


def test_all_conditions_are_documented():
    page = (ROOT / "docs" / "reference" / "conditions.md").read_text()
    plans = "".join(file.read_text() for file in (ROOT / "tests" / "golden" / "plans").iterdir())
    of_plans = re.findall(r'(?m)^- "([A-Z]\w+) (?:True|False|Unknown) [A-Z]', plans)
    of_host = re.findall(r'\w+ => "(\w+)",', (ROOT / "host" / "core" / "src" / "conditions.rs").read_text())
    assert {"SchedulerReady", "ClusterIdle"} <= set(of_plans)
    assert "PluginFailed" in of_host
    assert {name for name in (*of_plans, *of_host) if f"`{name}`" not in page} == set()


def test_reasons_in_the_page_about_plugins_exist():
    conditions = (ROOT / "docs" / "reference" / "conditions.md").read_text()
    page = (ROOT / "docs" / "plugins.md").read_text()
    explained = re.search(r"(?s)\n### On the plugin\n(.*?)\n##? ", page)[1]
    reasons = [reason for line in re.findall(r"(?m)^- (`.*?):", explained) for reason in re.findall(r"`([A-Z]\w+)`", line)]
    assert {"Quarantined", "PluginShareUsed"} <= set(reasons)
    assert {reason for reason in reasons if f"| `{reason}` |" not in conditions} == set()
