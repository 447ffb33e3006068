"""YAML text into plain data that remembers line and column."""

from graphs.source.excerpts import excerpt, without_random
from graphs.source.parse import MAX_ALIASES, Path, Source, read

__all__ = ["MAX_ALIASES", "Path", "Source", "excerpt", "read", "without_random"]
