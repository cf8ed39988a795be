"""The book of the pages in docs/, which mdBook builds."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from outside import redirect
from support.cluster import ROOT

DOCS = ROOT / "docs"


class Page(HTMLParser):
    """The links and the anchors of a page of the book."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get("id"))
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])


def test_the_summary_has_every_page():
    summary = (DOCS / "SUMMARY.md").read_text()
    listed = re.findall(r"\]\((.+?)\)", summary)
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "SUMMARY.md")
    assert sorted(listed) == pages, "docs/SUMMARY.md must list each page once"


@pytest.fixture(scope="module")
def book():
    """Folder of the book."""
    done = subprocess.run([Path(sys.executable).with_name("mdbook"), "build", DOCS], text=True, capture_output=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0 and not re.search("WARN|ERROR", output), output
    return ROOT / "target" / "book"


def test_links_of_the_book_lead_somewhere(book):
    # 404.html is served for every path, and print.html has all pages in one.
    pages = {path: Page(path) for path in book.rglob("*.html") if path.name not in ("404.html", "print.html", "toc.html")}
    missing = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if url.scheme:
                continue
            if not target.exists() or (target in pages and url.fragment and url.fragment not in pages[target].anchors):
                missing.append(f"{path.relative_to(book)}: {link}")
    assert len(pages) > 15
    assert missing == []


@pytest.mark.parametrize("link, redirected", [
    ("[a](../b.md)", "[a](../b.md)"),
    ("[a](../../README.md)", "[a](../../../README%2Emd)"),
    ("[a](../../README.md#install)", "[a](../../../README%2Emd#install)"),
    ("[a](../../host/src)", "[a](../../../host/src)"),
    ("[a](https://example.com/../x.md)", "[a](https://example.com/../x.md)"),
])
def test_links_out_of_the_book_lead_to_the_checkout(link, redirected):
    assert redirect(link, "policies/page.md", "/checkout/docs", "/checkout/target/book") == redirected
