"""MCP servers as LangChain tools: connections that live, the tools on them, their calls and results."""
