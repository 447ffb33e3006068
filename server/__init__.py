"""The facade: OpenAI's words outside, the engine's events inside."""
