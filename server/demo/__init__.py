"""The demo that `make serve` works with before anything is configured: a rule-based model and three real MCP
servers."""
