"""Limits on what a client may take of the server before and while it sends a request: `protocol` reads requests,
`connections` counts connections."""
