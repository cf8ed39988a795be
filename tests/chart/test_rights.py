"""Table of the operator's permissions in docs/rights.md, with the comment on each rule of the chart (``UPDATE_GOLDEN=1`` writes it)."""

import os
import re

import pytest
import yaml
from support import chart
from support.cluster import ROOT

PAGE = ROOT / "docs" / "rights.md"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
#: Values that enable all rules.
ALL = {"plugins": {"cluster": "/plugins/cluster.wasm", "pullSecrets": ["pull-secret"]}}
#: Text of the column `where` by role. A release for some namespaces has `role`; a cluster-wide one has `role-cluster`.
WHERE = {
    "role": "namespaces that the operator manages",
    "role-cluster": "the whole cluster; absent in a release for some namespaces",
    "role-own": "the namespace of the release",
    "webhook": "the two webhook configurations, which are cluster-scoped",
}


def rules(values):
    """Rules of each role of a release with these values, each with the comment before it."""
    found = {}
    for section in re.split(r"(?m)^---\n", chart.template(values, show=["templates/rbac.yaml"])):
        document = yaml.safe_load(section)
        if not document or "rules" not in document:
            continue
        comments, comment = [], []
        for line in section.split("\nrules:\n")[1].splitlines():
            if line.lstrip().startswith("# "):
                comment.append(line.strip()[2:])
            elif line.lstrip().startswith("- apiGroups:"):
                comments.append(" ".join(comment))
                comment = []
        # The names end with `-role`, `-role-cluster`, `-role-own` or `-webhook`.
        role = re.search(r"-(role(?:-\w+)?|webhook)$", document["metadata"]["name"])[1]
        found[role] = list(zip(document["rules"], comments, strict=True))
    return found


def table_row(where, rule, comment):
    """Formats a line of the table."""
    group = rule["apiGroups"][0]
    resources = "<br>".join(f"`{resource}{'.' + group if group and '/' not in resource else ''}`" for resource in rule["resources"])
    names = f" named {', '.join(f'`{name}`' for name in rule['resourceNames'])}" if "resourceNames" in rule else ""
    return f"| {resources}{names} | {', '.join(rule['verbs'])} | {where} | {comment} |"


def table_lines():
    """Lines of the table."""
    cluster_wide, namespaced = rules(ALL), rules({**ALL, "namespaces": ["team-a"], "webhook": {"namespaced": True}})
    assert cluster_wide.keys() == {"role-cluster", "role-own", "webhook"} and namespaced.keys() == {"role", "role-own", "webhook"}
    # The cluster-wide role starts with the rules of a release for some namespaces.
    shared = [rule for rule, _ in namespaced["role"]]
    assert [rule for rule, _ in cluster_wide["role-cluster"][:len(shared)]] == shared
    cluster_only = cluster_wide["role-cluster"][len(shared):]
    lines = ["| what | verbs | where | why |", "| --- | --- | --- | --- |"]
    for role, role_rules in (("role", namespaced["role"]), ("role-cluster", cluster_only), ("role-own", cluster_wide["role-own"]),
                       ("webhook", cluster_wide["webhook"])):
        for rule, comment in role_rules:
            assert comment, f"this rule of {role} needs a comment before it that gives the reason: {rule}"
            lines.append(table_row(WHERE[role], rule, comment))
    return lines


def test_the_page_lists_all_rights():
    before, _, after = re.split(r"(?ms)^(\| what \| verbs .*?)\n(?=\n|\Z)", PAGE.read_text(), maxsplit=1)
    wanted = before + "\n".join(table_lines()) + "\n" + after
    if UPDATE:
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "docs/rights.md is not up to date: run this with UPDATE_GOLDEN=1"


def test_no_rule_has_a_wildcard_or_a_dangerous_right():
    """No group, resource or verb is `*`. No rule allows changes of RBAC or access to all secrets."""
    for rule, _ in (rule for role in rules(ALL).values() for rule in role):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert "secrets" not in rule["resources"] or rule["verbs"] == ["create"] or rule["resourceNames"], rule


@pytest.mark.parametrize("values, reads", [
    ({}, True),
    ({"plugins": {"allowTenantSources": ["none"]}}, True),  # a ClusterDaskPlugin may use any source
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"]}}, True),  # a DaskPlugin may use ConfigMaps
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"], "allowTenantSources": ["none"]}}, False),
    ({"plugins": {"allowTenantSources": ["none"]}, "namespaces": ["team-a"]}, False),  # a release for some namespaces loads no ClusterDaskPlugins
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"], "allowTenantSources": ["configmap"]}, "namespaces": ["team-a"]}, True),
])
def test_the_right_to_read_config_maps_depends_on_the_allowed_sources(values, reads):
    found = [rule for role in rules(values).values() for rule, _ in role if "configmaps" in rule["resources"]]
    assert bool(found) == reads, found
