"""Comparison of documentation pages with the operator's code: limits, flags and condition reasons."""

import re

import pytest
from support.cluster import ROOT

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
PLUGINS = ROOT / "host" / "operator" / "src" / "plugins"


def limits():
    """Limits in the table of SECURITY.md: name, value and source file of each."""
    found = []
    for line in (ROOT / "SECURITY.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and (file := re.fullmatch(r"`(\S+/\S+)`", cells[2])):
            for name, number, unit in re.findall(r"`(\w+)` ([\d,]+)(?: (KiB|MiB|GiB|s))?", cells[1]):
                found.append((name, int(number.replace(",", "")) * UNITS.get(unit, 1), file[1]))
    return found


def numbers(text, name):
    """Yields the values of a constant or a field in source code: `NAME: usize = 64 << 10`, `name: 5,`, `name: 2Gi`."""
    for value in re.findall(rf"\b{name}: ?(?:\w+ = )?(.*)", text):
        if number := re.match(r"\D*?(\d[\d_]*)(?: << (\d+)|(Ki|Mi|Gi))?", value):
            yield int(number[1].replace("_", "")) * (1 << int(number[2] or 0)) * UNITS.get(number[3], 1)


@pytest.mark.parametrize("name, number, file", limits(), ids=lambda value: str(value).rpartition("/")[2])
def test_a_documented_limit_matches_the_code(name, number, file):
    assert number in list(numbers((ROOT / file).read_text(), name)), f"SECURITY.md documents {number} for {name} in {file}"


def test_all_documented_limits_are_found():
    assert len(limits()) > 80


def test_plugin_flags_are_documented_and_reserved_by_the_chart():
    flags = re.findall(r'long = "([a-z-]+)"', (PLUGINS / "load" / "args.rs").read_text())
    page = (ROOT / "docs" / "plugins.md").read_text()
    arguments = (ROOT / "charts" / "dask-kubernetes-operator" / "templates" / "_arguments.tpl").read_text()
    assert "allow-tenant-interfaces" in flags
    assert [flag for flag in flags if f"`--{flag}`" not in page] == []
    assert [flag for flag in flags if f'"--{flag}" "Use the value' not in arguments] == []


def test_the_documented_quota_covers_all_cached_kinds():
    page = (ROOT / "docs" / "install.md").read_text()
    definitions = "".join(file.read_text() for file in (ROOT / "crds").glob("dask*.yaml"))
    names = re.findall(r"(?m)^  name: (\w+\.kubernetes\.dask\.org)$", definitions)
    assert len(names) == 5
    assert [name for name in [*names, "pods", "services"] if f"count/{name}:" not in page] == []


def reasons():
    """Yields the condition reasons for a plugin that is not active and for a component that returned no plan."""
    for crate in ("sources", "runtime"):
        yield from words((ROOT / "host" / crate / "src" / "error.rs").read_text())
    for file in PLUGINS.rglob("*.rs"):
        yield from words(file.read_text())


def words(code):
    """Words of the enums of reasons in source code."""
    for table in re.findall(r"(?s)reasons! \{(.*?)\n\}", code):
        yield from re.findall(r'=> "([A-Z]\w+)"', table)


def test_condition_reasons_are_documented():
    page = (ROOT / "docs" / "reference" / "conditions.md").read_text()
    found = set(reasons())
    assert {"Quarantined", "HostExhausted", "PluginShareUsed", "PluginsBusy", "TooManyPlugins", "NamespaceUnknown"} <= found
    # With an unreadable certificate file the operator does not start, so no condition has this reason.
    assert {reason for reason in found if f"`{reason}`" not in page} == {"CertificateFileUnreadable"}
