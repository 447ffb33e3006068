"""Copies of arguments without the secrets in them: for records that other people read."""

from __future__ import annotations

from graphs.redaction.copies import Redaction
from graphs.redaction.names import is_secret_name
from graphs.redaction.shapes import ValueShape, read_shape
from graphs.redaction.texts import REDACTED

__all__ = ["REDACTED", "Redaction", "ValueShape", "is_secret_name", "read_shape"]
