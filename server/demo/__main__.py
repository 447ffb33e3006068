"""`python -m server.demo NAME`: one of the demo MCP servers over stdio, or the demo model over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mcp.server.fastmcp import FastMCP

from graphs.errors import InterlockError
from server.demo import database, filesystem, monitoring
from server.demo.data import find_data_folder
from server.demo.model.serving import run_demo_model

SERVERS: Mapping[str, Callable[[Path], FastMCP]] = {
    "filesystem": filesystem.create_server,
    "database": database.create_server,
    "monitoring": monitoring.create_server,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m server.demo", description=__doc__)
    kinds = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in SERVERS:
        kinds.add_parser(name, help=f"the {name} MCP server, over stdio; its data is below $INTERLOCK_DATA")
    model = kinds.add_parser("model", help="the demo model: an OpenAI-compatible endpoint on 127.0.0.1")
    model.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    asked = parser.parse_args()
    # Ctrl-C ends it at once: an MCP server's reader thread waits on stdin and would hold a clean exit up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if asked.name == "model":
            asyncio.run(run_demo_model(asked.port))
        else:
            SERVERS[asked.name](find_data_folder(os.environ)).run("stdio")
    except (InterlockError, OSError, sqlite3.Error) as error:
        sys.exit(f"{parser.prog} {asked.name}: {error}")


if __name__ == "__main__":
    main()
