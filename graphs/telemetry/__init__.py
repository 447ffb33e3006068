"""Metrics, spans and token counts: what operators measure."""
