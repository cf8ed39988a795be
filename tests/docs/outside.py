"""Preprocessor of mdBook that lets links to files outside docs/ lead to the checkout in which the book is built.

mdBook copies only files in docs/, and replaces the ending of each linked page by `.html`. A page that is not in the book, such as
CONTRIBUTING.md, has no such file, so the dot of its name is escaped.
"""

import json
import re
import sys
from os.path import dirname, join, normpath, relpath


def redirect(text, page, source, output):
    """Return the text of a page with its links out of the folder ``source`` relative to the folder ``output``.

    ``page`` is the page's path in both folders.
    """

    def link(match):
        target = normpath(join(source, dirname(page), match[1]))
        if not relpath(target, source).startswith(".."):
            return match[0]
        path = relpath(target, join(output, dirname(page)))
        return f"]({re.sub(r'[.]md$', '%2Emd', path)}{match[2]})"

    return re.sub(r"\]\((\.\./[^)#\s]*)([^)\s]*)\)", link, text)


def chapters(items):
    """Yield the chapters of a book that have a page."""
    for item in items:
        if isinstance(item, dict) and (chapter := item.get("Chapter")):
            if chapter["source_path"]:
                yield chapter
            yield from chapters(chapter["sub_items"])


def main():
    """Answer whether a renderer is supported, or transform the book on standard input."""
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    config = context["config"]
    source = join(context["root"], config["book"]["src"])
    output = join(context["root"], config["build"]["build-dir"])
    for chapter in chapters(book["items"]):
        chapter["content"] = redirect(chapter["content"], chapter["source_path"], source, output)
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
