"""LiteLLM: requests, the stream of an answer, the list of models."""
