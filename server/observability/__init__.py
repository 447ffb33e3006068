"""Observing the facade: request log, log format, export of spans, metrics of several workers."""
