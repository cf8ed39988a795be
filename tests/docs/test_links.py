"""Links in all Markdown files of the repository."""

import subprocess

import pytest
from links import anchors, broken
from support.cluster import ROOT


def test_all_links_lead_somewhere():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    files = {path for path in listed.split("\0") if (ROOT / path).is_file()}
    pages = {path: (ROOT / path).read_text() for path in sorted(files) if path.endswith(".md")}
    assert len(pages) > 20
    if problems := list(broken(pages, files)):
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.mark.parametrize("heading, anchor", [
    ("# `kubectl scale` and HPA", "kubectl-scale-and-hpa"),
    ("## 1. Create a crate", "1-create-a-crate"),
    ("## How it's *tested*: all_of it", "how-its-tested-all_of-it"),
    ("Underlined\n===", "underlined"),
    ("```\n# a comment\n```", None),
])
def test_anchors_are_those_of_github(heading, anchor):
    assert anchors(heading) == ({anchor} if anchor else set())


def test_equal_headings_have_numbered_anchors():
    assert anchors("# A\n## A\n# B\n### A\n") == {"a", "a-1", "a-2", "b"}


@pytest.mark.parametrize("link, problem", [
    ("[x](b.md)", None),
    ("[x](b.md#there)", None),
    ("[x](#here)", None),
    ("[x](../src)", None),
    ("[x](../src/lib.rs)", None),
    ("[x](https://example.com/y)", None),
    ("`[x](y.md)`", None),
    ("[x](c.md)", "docs/a.md:3: c.md: the repository has no docs/c.md"),
    ("[x](../../b.md)", "docs/a.md:3: ../../b.md: the repository has no ../b.md"),
    ("[x](b.md#here)", "docs/a.md:3: b.md#here: docs/b.md has no heading with this anchor"),
    ("[x](../src/lib.rs#L3)", "docs/a.md:3: ../src/lib.rs#L3: src/lib.rs has no heading with this anchor"),
    ("![x](y.png)", "docs/a.md:3: y.png: the repository has no docs/y.png"),
    ("[x][y]\n\n[y]: z.md", "docs/a.md:3: z.md: the repository has no docs/z.md"),
])
def test_a_link_that_leads_nowhere_is_named(link, problem):
    pages = {"docs/a.md": f"# Here\n\n{link}\n", "docs/b.md": "# There\n"}
    assert list(broken(pages, {*pages, "src/lib.rs"})) == ([problem] if problem else [])
