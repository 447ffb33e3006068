"""Copies of arguments without the secrets in them: for records that other people read."""

from __future__ import annotations

from graphs.redaction.copies import Redaction
from graphs.redaction.names import says_secret
from graphs.redaction.shapes import Shape, shape_of
from graphs.redaction.texts import REDACTED

__all__ = ["REDACTED", "Redaction", "Shape", "says_secret", "shape_of"]
