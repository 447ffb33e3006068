"""Writes the pages of docs/reference; tests/test_reference.py fails while one of them is out of date."""

from __future__ import annotations

from scripts.reference.pages import BUILDERS, FOLDER, build_page


def main() -> None:
    """Writes each page that has changed and prints its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in BUILDERS:
        file, text = FOLDER / name, build_page(name)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(file)


if __name__ == "__main__":
    main()
