"""What an agent does with the official SDK (Python, 1.x), as JSON: sdk_scenes.py URL streamable|json|sse."""

import asyncio
import json
import sys
from datetime import timedelta

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.context import RequestContext


async def sample(context: RequestContext, params: types.CreateMessageRequestParams):
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="sampled"), model="m")


async def elicit(context: RequestContext, params: types.ElicitRequestParams):
    return types.ElicitResult(action="accept", content={"username": "ann", "email": "ann@example.com"})


async def roots(context: RequestContext):
    return types.ListRootsResult(roots=[types.Root(uri="file:///work")])


async def play(session: ClientSession, scenes: dict, asks: bool) -> None:
    async def scene(name, run):
        try:
            result = await run
            scenes[name] = result.model_dump(mode="json") if hasattr(result, "model_dump") else result
        except Exception as error:
            scenes[name] = {"error": type(error).__name__, "message": str(error)}

    await scene("tools", session.list_tools())
    await scene("text", session.call_tool("test_simple_text"))
    await scene("mixed", session.call_tool("test_multiple_content_types"))
    await scene("error", session.call_tool("test_error_handling"))
    await scene("unknown tool", session.call_tool("no_such_tool"))
    await scene("progress", session.call_tool("test_tool_with_progress"))
    await scene("logging", session.call_tool("test_tool_with_logging"))
    # A server that answers in JSON has no way to ask the client while it answers.
    if asks:
        await scene("sampling", session.call_tool("test_sampling", {"prompt": "hello"}))
        await scene("elicitation", session.call_tool("test_elicitation", {"message": "who?"}))
        await scene("roots", session.call_tool("test_roots"))
    await scene("echo", session.call_tool("echo", {"value": {"text": "Straße 🚀", "n": [1.5, 1e21, 12345678901234567890]}}))
    await scene("resources", session.list_resources())
    await scene("read", session.read_resource("test://static-text"))
    await scene("prompts", session.list_prompts())
    await scene("prompt", session.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"}))
    await scene("ping", session.send_ping())


async def main(url: str, transport: str) -> None:
    scenes: dict = {}
    connect = sse_client(url) if transport == "sse" else streamablehttp_client(url)
    async with connect as streams:
        async with ClientSession(
            streams[0], streams[1], sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots,
            read_timeout_seconds=timedelta(seconds=60),
        ) as session:
            await session.initialize()
            await play(session, scenes, transport != "json")
    print(json.dumps(scenes))


asyncio.run(main(*sys.argv[1:]))
