"""The lists of files in CONTRIBUTING.md."""

import re

from support.cluster import ROOT


def test_listed_files_exist():
    lists = (ROOT / "CONTRIBUTING.md").read_text().partition("## Files to touch")[2]
    files = [file for row in re.findall(r"(?m)^\| (.*?) \|", lists) for file in re.findall(r"`(.+?)`", row)]
    assert len(files) > 40
    missing = [file for file in files if not any(ROOT.glob(file.rstrip("/").replace("NAME", "*")))]
    assert missing == [], "CONTRIBUTING.md lists files that do not exist"
