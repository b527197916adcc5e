"""An MCP server made with the official SDK (Python, 2.x), which speaks both generations of the protocol. Prints its port."""

import logging
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, ElicitRequest, ElicitRequestFormParams, InputRequiredResult, TextContent

# Its stack traces are not ours to read.
logging.disable(logging.CRITICAL)
server = MCPServer("modern")


@server.tool(description="Adds two numbers.")
def add(a: int, b: int) -> int:
    return a + b


@server.tool(description="Gives back what it is given.")
def echo(value: str) -> str:
    return value


@server.tool(description="Fails.")
def fail() -> str:
    raise ValueError("this tool fails")


@server.tool(description="Says how far it is.")
async def steps(ctx: Context) -> str:
    for step in (1, 2, 3):
        await ctx.report_progress(step, 3)
    return "done"


@server.tool(description="Asks the user first.")
async def confirm(ctx: Context) -> CallToolResult | InputRequiredResult:
    answers = ctx.input_responses
    if not answers:
        params = ElicitRequestFormParams(
            message="Sure?", requested_schema={"type": "object", "properties": {"ok": {"type": "boolean"}}}
        )
        return InputRequiredResult(input_requests={"sure": ElicitRequest(params=params)})
    return CallToolResult(content=[TextContent(text=f"confirmed: {sorted(answers)}")])


@server.resource("data://orders/one")
def one() -> str:
    return "the first order"


@server.resource("data://secret/one")
def secret() -> str:
    return "the secret"


@server.resource("data://orders/{name}/items")
def items(name: str) -> str:
    return f"items of {name}"


@server.prompt()
def review(text: str) -> str:
    return f"Review this: {text}"


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = server.streamable_http_app(json_response="json" in sys.argv)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
