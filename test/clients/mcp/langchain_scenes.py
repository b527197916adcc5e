"""A LangChain agent's view of an MCP server, through langchain-mcp-adapters, as JSON: langchain_scenes.py URL."""

import asyncio
import json
import re
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient


def shown(value: object) -> str:
    """Without the random ids that LangChain gives to blocks."""
    return re.sub(r"lc_[0-9a-f-]{36}", "lc", str(value))


async def main(url: str) -> None:
    client = MultiServerMCPClient({"tools": {"transport": "streamable_http", "url": url}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    scenes: dict = {"tools": sorted(tools), "text": shown(await tools["test_simple_text"].ainvoke({}))}
    for name in ("test_error_handling", "test_image_content"):
        if name in tools:
            try:
                scenes[name] = shown(await tools[name].ainvoke({}))[:200]
            except Exception as error:
                scenes[name] = f"{type(error).__name__}: {error}"
    async with client.session("tools") as session:
        result = await session.call_tool("test_error_handling", {})
        scenes["called"] = {"isError": result.isError, "text": result.content[0].text}
    print(json.dumps(scenes))


asyncio.run(main(*sys.argv[1:]))
