"""The lists of files in CONTRIBUTING.md."""

import re

from support.cluster import ROOT


def test_listed_files_exist():
    lists = (ROOT / "CONTRIBUTING.md").read_text().partition("## Files to touch")[2]
    files = [file for row in re.findall(r"(?m)^\| (.*?) \|", lists) for file in re.findall(r"`(.+?)`", row)]
    assert len(files) > 40
    missing = [file for file in files if not any(ROOT.glob(file.rstrip("/").replace("NAME", "*")))]
    assert missing == [], "CONTRIBUTING.md lists files that do not exist"


def test_named_tables_exist():
    rows = re.findall(r"(?m)^\| (`tests/.*?) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text())
    named = [(files, table) for files, text in rows for table in re.findall(r"`([A-Z_]{4,})`", text)]
    assert len(named) >= 2
    missing = [
        table for files, table in named
        if not any(f"\n{table} = " in (ROOT / file).read_text() for file in re.findall(r"`(.+?\.py)`", files))
    ]
    assert missing == [], "CONTRIBUTING.md names tables that do not exist"
