"""The size of a PNG file."""

from __future__ import annotations

import struct
from pathlib import Path


def read_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header (https://www.w3.org/TR/png/#11IHDR)."""
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n"), f"{file} is no PNG"
    width, height = struct.unpack(">II", head[16:24])
    return width, height
