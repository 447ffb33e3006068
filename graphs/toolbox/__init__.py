"""MCP: connections that live, their tools as LangChain tools, and how each server is."""

from graphs.toolbox.connection import Timing
from graphs.toolbox.names import of_server
from graphs.toolbox.pool import ServerStatus, Toolbox
from graphs.toolbox.progress import told_to
from graphs.toolbox.sharing import Connections
from graphs.toolbox.tools import ServedTool
from graphs.toolbox.view import Tools

__all__ = ["Connections", "ServedTool", "ServerStatus", "Timing", "Toolbox", "Tools", "of_server", "told_to"]
