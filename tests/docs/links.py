"""Links in Markdown files: which of them lead nowhere."""

import re
from os.path import dirname, join, normpath
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark").enable("table")


def anchors(text):
    """Return the anchors of a page's headings, as GitHub and mdBook derive them."""
    found = []
    tokens = MARKDOWN.parse(text)
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before.type == "heading_open":
            title = "".join(part.content for part in token.children if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            count = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
            found.append(f"{slug}-{count}" if count else slug)
    return set(found)


def targets(text):
    """Yield the line and the target of each link and image. The line is that of the paragraph or table row."""
    for token in MARKDOWN.parse(text):
        for part in token.children or ():
            if target := part.attrs.get("href") or part.attrs.get("src"):
                yield token.map[0] + 1, target


def broken(pages, files):
    """Yield a sentence for each link that leads nowhere.

    ``pages`` has the texts of Markdown files by path, ``files`` the paths of all files in the repository. Links to other servers
    are not checked.
    """
    folders = {"."}
    for file in files:
        while file := dirname(file):
            folders.add(file)
    known = {path: anchors(text) for path, text in pages.items()}
    for page, text in pages.items():
        for line, target in targets(text):
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            path = normpath(join(dirname(page), unquote(url.path))) if url.path else page
            if path not in files and path not in folders:
                yield f"{page}:{line}: {target}: the repository has no {path}"
            elif url.fragment and url.fragment not in known.get(path, ()):
                yield f"{page}:{line}: {target}: {path} has no heading with this anchor"
