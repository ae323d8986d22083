"""Check a built site: every internal link resolves, and nothing is loaded from outside.

Usage: python docs/check_links.py docs/_build/html
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads = {"", "top"}, [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(
            attributes[name] for name in ("id", "name") if attributes.get(name)
        )
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag == "link" and attributes.get("href"):
            # A canonical address is told, and not loaded.
            if attributes.get("rel") != "canonical":
                self.loads.append(attributes["href"])
        elif attributes.get("src"):
            self.loads.append(attributes["src"])


def problems(site):
    """Lines that say which page has which dead link, or loads what from outside."""
    paths = (
        p for p in sorted(site.rglob("*.html")) if site / "_static" not in p.parents
    )
    pages = {path: Page(path) for path in paths}
    for path, page in pages.items():
        for address in page.links + page.loads:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if address in page.loads:
                    yield f"{path.relative_to(site)}: loads {address}"
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
                if target.is_dir():
                    target /= "index.html"
            if not target.exists():
                yield f"{path.relative_to(site)}: no {address}"
            elif (
                target in pages and unquote(parts.fragment) not in pages[target].anchors
            ):
                yield f"{path.relative_to(site)}: no anchor {address}"


def main():
    site = Path(sys.argv[1]).resolve()
    found = list(problems(site))
    print(
        "\n".join(found)
        or f"Links of {site.name} resolve, nothing is loaded from outside."
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
