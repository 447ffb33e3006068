"""YAML text into plain data that remembers line and column."""

from graphs.config.source.excerpts import excerpt, without_random
from graphs.config.source.parse import MAX_ALIASES, Path, Source, read

__all__ = ["MAX_ALIASES", "Path", "Source", "excerpt", "read", "without_random"]
