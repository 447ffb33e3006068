"""Our own server for the clients' turns: it writes down every call, and answers with a word that nobody can guess."""

import secrets
import sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP

server = FastMCP("marks", log_level="WARNING")
FILE = Path(sys.argv[1])


@server.tool()
def mark(token: str) -> str:
    """Write the token down and return a secret for it."""
    secret = secrets.token_hex(8)
    with FILE.open("a") as lines:
        lines.write(f"{token} {secret}\n")
    return secret


if __name__ == "__main__":
    server.run()
