"""The dialects that clients speak: `chat_completions` and what a further one must bring (`encoder`); error bodies; the
limits of HTTP itself (`http`)."""
