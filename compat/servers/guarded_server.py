"""A server that takes requests for one host name alone, as the official SDK guards it: the name is another's here."""

import sys

from mcp.server.fastmcp import FastMCP
from mcp.server.transport_security import TransportSecuritySettings

guard = TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=["mcp.example.com"])
server = FastMCP("guarded", port=int(sys.argv[1]), transport_security=guard, log_level="WARNING")


if __name__ == "__main__":
    server.run("streamable-http")
