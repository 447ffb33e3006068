"""The MCP servers and clients that people really have, installed and run with Interlock: docs/compatibility.md."""
