"""Writes docs/reference, the page `/docs` and the tree of docs/ARCHITECTURE.md.

tests/project/test_reference.py holds them up to date.
"""

from __future__ import annotations

from scripts.reference import http_page
from scripts.reference.pages import BUILDERS, FOLDER, ROOT, build_page
from scripts.reference.tree import PAGE, insert_tree


def main() -> None:
    """Writes each page that has changed and prints its path."""
    served = ROOT / http_page.PATH
    if not served.is_file() or served.read_text(encoding="utf-8") != http_page.build_page():
        served.write_text(http_page.build_page(), encoding="utf-8")
        print(served)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in BUILDERS:
        file, text = FOLDER / name, build_page(name)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(file)
    page = ROOT / PAGE
    before = page.read_text(encoding="utf-8")
    if (after := insert_tree(before, ROOT)) != before:
        page.write_text(after, encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
