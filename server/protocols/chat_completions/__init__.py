"""OpenAI's Chat Completions: `request` reads, `stream` encodes chunks, `collect` builds the whole completion."""
