"""Tools that carry out prompts in the model's place: functions, OpenAI schemas with a function, MCP servers.

with Toolbox([calculator, my_function]) as tools:
    sprint_program.run(question, tools=tools)
"""

from sprint_sgl.tools.calculator import calculator
from sprint_sgl.tools.mcp import McpServer
from sprint_sgl.tools.python import python
from sprint_sgl.tools.tool import Tool, ToolContext, ToolError, tool
from sprint_sgl.tools.toolbox import Toolbox, ToolResult

__all__ = ["McpServer", "Tool", "ToolContext", "ToolError", "ToolResult", "Toolbox", "calculator", "python", "tool"]
