"""docs/rights.md says what the chart lets the operator do, and why: the comment before each rule (``UPDATE_GOLDEN=1`` writes it)."""

import os
import re

import pytest
import yaml
from support import chart
from support.cluster import ROOT

PAGE = ROOT / "docs" / "rights.md"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
#: Values with which there are all rules.
ALL = {"plugins": {"cluster": "/plugins/cluster.wasm", "pullSecrets": ["pull-secret"]}}
#: What a row of the table says about where: the role of a release for some namespaces, or for all.
WHERE = {
    "role": "namespaces that it looks after",
    "role-cluster": "the whole cluster; not in a release for some namespaces",
    "role-own": "its own namespace",
    "webhook": "the webhook's two configurations, which belong to no namespace",
}


def rules(values):
    """Each role's rules with the comments before them, of a release with these values."""
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
        # ...-role-cluster, but ...-webhook
        role = re.search(r"-(role(?:-\w+)?|webhook)$", document["metadata"]["name"])[1]
        found[role] = list(zip(document["rules"], comments, strict=True))
    return found


def row(where, rule, comment):
    """A line of the table."""
    group = rule["apiGroups"][0]
    resources = "<br>".join(f"`{resource}{'.' + group if group and '/' not in resource else ''}`" for resource in rule["resources"])
    names = f" named {', '.join(f'`{name}`' for name in rule['resourceNames'])}" if "resourceNames" in rule else ""
    return f"| {resources}{names} | {', '.join(rule['verbs'])} | {where} | {comment} |"


def table():
    """The table's lines."""
    in_cluster, in_some = rules(ALL), rules({**ALL, "namespaces": ["team-a"], "webhook": {"namespaced": True}})
    assert in_cluster.keys() == {"role-cluster", "role-own", "webhook"} and in_some.keys() == {"role", "role-own", "webhook"}
    # What a release for some namespaces has is the same there.
    shared = [rule for rule, _ in in_some["role"]]
    assert [rule for rule, _ in in_cluster["role-cluster"][:len(shared)]] == shared
    wide = in_cluster["role-cluster"][len(shared):]
    lines = ["| what | verbs | where | why |", "| --- | --- | --- | --- |"]
    for role, said in (("role", in_some["role"]), ("role-cluster", wide), ("role-own", in_cluster["role-own"]),
                       ("webhook", in_cluster["webhook"])):
        for rule, comment in said:
            assert comment, f"a comment has to say before this rule of {role} why it is there: {rule}"
            lines.append(row(WHERE[role], rule, comment))
    return lines


def test_the_page_has_all_rights():
    before, _, after = re.split(r"(?ms)^(\| what \| verbs .*?)\n(?=\n|\Z)", PAGE.read_text(), maxsplit=1)
    wanted = before + "\n".join(table()) + "\n" + after
    if UPDATE:
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, "docs/rights.md is not up to date: run this with UPDATE_GOLDEN=1"


def test_nothing_is_allowed_by_a_pattern():
    """No `*`, neither for groups nor resources nor verbs; and no right to give rights or to read all secrets."""
    for rule, _ in (rule for role in rules(ALL).values() for rule in role):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert "secrets" not in rule["resources"] or rule["verbs"] == ["create"] or rule["resourceNames"], rule


@pytest.mark.parametrize("values, reads", [
    ({}, True),
    ({"plugins": {"allowTenantSources": ["none"]}}, True),  # a ClusterDaskPlugin may name anything
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"]}}, True),  # a DaskPlugin may name ConfigMaps
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"], "allowTenantSources": ["none"]}}, False),
    ({"plugins": {"allowTenantSources": ["none"]}, "namespaces": ["team-a"]}, False),  # it sees no ClusterDaskPlugins
    ({"plugins": {"allowSources": ["ghcr.io/acme/*"], "allowTenantSources": ["configmap"]}, "namespaces": ["team-a"]}, True),
])
def test_config_maps_are_read_only_where_plugins_may_come_from_them(values, reads):
    found = [rule for role in rules(values).values() for rule, _ in role if "configmaps" in rule["resources"]]
    assert bool(found) == reads, found
