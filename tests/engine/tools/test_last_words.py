"""Why programs end: what real ones print, and the line of it that helps."""

from __future__ import annotations

import pytest

from graphs.tools.last_words import find_last_words

UV = """\
error: No solution found when resolving tool dependencies
  cause: Because nope was not found in the package registry and you require nope, we can conclude that your \
requirements are unsatisfiable.
"""
UV_FRAMED = """\
  × No solution found when resolving tool dependencies:
  ╰─▶ Because nope was not found in the package registry and you require
      nope, we can conclude that your requirements are unsatisfiable.

      hint: Packages were unavailable because the network was disabled.
"""
UV_HINT = """\
error: Failed to spawn: `nope`
  Caused by: No such file or directory (os error 2)
hint: `nope` is provided by the package `other`; use `uvx --from other nope` instead
"""
NPM = """\
npm warn exec The following package was not found and will be installed: nope
npm error code E404
npm error 404 Not Found - GET https://registry.example.com/@none%2fnope
npm error 404
npm error 404  The requested resource '@none/nope@*' could not be found or you do not have permission to access it.
npm error 404
npm error 404 Note that you can also install from a
npm error 404 tarball, folder, http url, or git url.
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-11-28T00_50_48_617Z-debug-0.log
"""
NPM_NETWORK = """\
npm ERR! code ENOTFOUND
npm ERR! errno ENOTFOUND
npm ERR! network request to https://registry.example.com/nope failed, reason: getaddrinfo ENOTFOUND
npm ERR! network This is a problem related to network connectivity.

npm ERR! A complete log of this run can be found in: /root/.npm/_logs/x.log
"""
NPM_BIN = """\
npm error could not determine executable to run
npm error A complete log of this run can be found in: /root/.npm/_logs/x.log
"""
NODE = """\
node:internal/modules/cjs/loader:1207
  throw err;
  ^

Error: Cannot find module '/srv/index.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.20.2
"""
PYTHON = """\
Traceback (most recent call last):
  File "/srv/server.py", line 3, in <module>
    import mcp
ModuleNotFoundError: No module named 'mcp'
"""
SETTINGS = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings
api_key
  Field required [type=missing, input_value={}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/missing
"""
ARGPARSE = """\
usage: server [-h] --db-path DB_PATH
server: error: the following arguments are required: --db-path
"""
CLAP = """\
error: unexpected argument '--bogus' found

Usage: uvx [OPTIONS] [COMMAND]

For more information, try '--help'.
"""
USAGE = """\
Usage: mcp-server-filesystem [allowed-directory] [additional-directories...]
Note: Allowed directories can be provided via:
  1. Command-line arguments (shown above)
  2. MCP roots protocol (if client supports it)
At least one directory must be provided by EITHER method for the server to operate.
"""
USAGE_BELOW = """\
A server for weather.

Usage:
  weather --key KEY
"""
RUST = """\
thread 'main' panicked at src/main.rs:4:5:
the token is missing
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""


UNSATISFIABLE = (
    "Because nope was not found in the package registry and you require nope, we can conclude that your requirements "
    "are unsatisfiable."
)
FIELD = "1 validation error for Settings: api_key: Field required [type=missing, input_value={}, input_type=dict]"
UNREACHED = "npm: network request to https://registry.example.com/nope failed, reason: getaddrinfo ENOTFOUND"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (UV, UNSATISFIABLE),
        (UV_FRAMED, UNSATISFIABLE),
        (UV_HINT, "No such file or directory (os error 2)"),
        (NPM, "npm: 404 Not Found - GET https://registry.example.com/@none%2fnope"),
        (NPM_NETWORK, UNREACHED),
        (NPM_BIN, "npm: could not determine executable to run"),
        (NODE, "Error: Cannot find module '/srv/index.js'"),
        (PYTHON, "ModuleNotFoundError: No module named 'mcp'"),
        (SETTINGS, FIELD),
        (ARGPARSE, "server: error: the following arguments are required: --db-path"),
        (CLAP, "error: unexpected argument '--bogus' found"),
        (USAGE, "Usage: mcp-server-filesystem [allowed-directory] [additional-directories...]"),
        (USAGE_BELOW, "Usage: weather --key KEY"),
        (RUST, "the token is missing"),
        ("starting\nno licence\n", "no licence"),
        ("Error: DATABASE_URL is not set\nbye", "Error: DATABASE_URL is not set"),
        ("\n ^ \n", None),
    ],
)  # fmt: skip
def test_the_line_that_says_why(said: str, words: str | None) -> None:
    assert find_last_words(said.splitlines()) == words
