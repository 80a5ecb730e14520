"""An MCP server over its standard input and output, or over HTTP: `python mcp_server.py [PORT]`."""

import sys
import time

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("test")


@server.tool()
def shout(text: str, times: int = 1) -> str:
    """Say it loudly."""
    return " ".join([text.upper()] * times)


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no luck")


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def slow(seconds: float) -> str:
    """Take a while."""
    time.sleep(seconds)
    return "awake"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
