"""A server as FastMCP's manual writes them: over stdio, or over HTTP at the port that is its argument."""

import sys

from fastmcp import FastMCP

server = FastMCP("compat")


@server.tool
def repeat(word: str, times: int) -> str:
    """Repeat a word."""
    return " ".join([word] * times)


if __name__ == "__main__":
    if sys.argv[1:]:
        server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
