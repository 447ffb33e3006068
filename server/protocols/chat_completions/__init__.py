"""OpenAI's Chat Completions: the request, the stream of chunks, the whole completion."""
