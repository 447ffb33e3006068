"""MCP: connections that live, their tools as LangChain tools, and how each server is."""

from graphs.toolbox.connection import Timing
from graphs.toolbox.pool import ServerStatus, Toolbox
from graphs.toolbox.progress import told_to
from graphs.toolbox.sharing import Connections
from graphs.toolbox.tools import ServedTool

__all__ = ["Connections", "ServedTool", "ServerStatus", "Timing", "Toolbox", "told_to"]
