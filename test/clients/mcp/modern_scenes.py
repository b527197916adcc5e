"""What an agent does with the official SDK (Python, 2.x) without a session, as JSON: modern_scenes.py URL."""

import asyncio
import json
import sys

from mcp import Client
from mcp_types import ElicitResult


async def elicit(context, params):
    return ElicitResult(action="accept", content={"ok": True})


async def main(url: str) -> None:
    scenes: dict = {}
    async with Client(url, elicitation_callback=elicit, read_timeout_seconds=60) as client:

        async def scene(name, run):
            try:
                result = await run
                scenes[name] = result.model_dump(mode="json") if hasattr(result, "model_dump") else result
            except Exception as error:
                scenes[name] = {"error": type(error).__name__, "message": str(error)}

        scenes["version"] = client.protocol_version
        await scene("tools", client.list_tools())
        await scene("add", client.call_tool("add", {"a": 1, "b": 2}))
        await scene("echo", client.call_tool("echo", {"value": "Straße 🚀"}))
        await scene("fail", client.call_tool("fail", {}))
        await scene("unknown tool", client.call_tool("no_such_tool", {}))
        await scene("steps", client.call_tool("steps", {}))
        await scene("confirm", client.call_tool("confirm", {}))
        await scene("resources", client.list_resources())
        await scene("templates", client.list_resource_templates())
        await scene("read", client.read_resource("data://orders/one"))
        await scene("read template", client.read_resource("data://orders/é/items"))
        await scene("prompts", client.list_prompts())
        await scene("prompt", client.get_prompt("review", {"text": "a"}))
    print(json.dumps(scenes))


asyncio.run(main(*sys.argv[1:]))
