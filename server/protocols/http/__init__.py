"""What a client may take of the server before and while it sends a request: `protocol` reads, `connections` counts,
`failed_keys` and `addresses` tell who it is that fails."""
