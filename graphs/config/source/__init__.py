"""Parse YAML text into plain data, with the line and column of everything in it."""

from graphs.config.source.excerpts import build_excerpt, mask_random
from graphs.config.source.parse import MAX_ALIASES, Path, Source, find_value, parse_yaml
from graphs.config.source.scalars import parse_plain

__all__ = ["MAX_ALIASES", "Path", "Source", "build_excerpt", "find_value", "mask_random", "parse_plain", "parse_yaml"]
