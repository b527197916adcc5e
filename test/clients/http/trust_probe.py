"""One request of every client of Python, to a name whose certificate only the pod's CA vouches for: true, or the class of the error."""

import asyncio
import json
import sys

url = sys.argv[1]


def with_requests():
    import requests

    return requests.get(f"{url}/json", timeout=20).ok


def with_urllib3():
    import urllib3

    return urllib3.PoolManager().request("GET", f"{url}/json", retries=False).status == 200


def with_httpx():
    import httpx

    return httpx.get(f"{url}/json").is_success


def with_httpx2():
    import httpx

    with httpx.Client(http2=True) as client:
        return client.get(f"{url}/json").is_success


def with_aiohttp():
    import aiohttp

    async def ask():
        async with aiohttp.ClientSession() as session, session.get(f"{url}/json") as answer:
            return answer.ok

    return asyncio.run(ask())


def with_openai():
    import openai

    return bool(openai.OpenAI(max_retries=0).embeddings.create(model="gpt-test", input="hi").data)


def with_anthropic():
    import anthropic

    ask = {"model": "claude-test", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    return bool(anthropic.Anthropic(max_retries=0).messages.create(**ask).content)


def tried(ask):
    try:
        return ask()
    except Exception as error:
        return type(error).__name__


print(json.dumps({
    "requests": tried(with_requests),
    "urllib3": tried(with_urllib3),
    "httpx": tried(with_httpx),
    "httpx2": tried(with_httpx2),
    "aiohttp": tried(with_aiohttp),
    "openaiPython": tried(with_openai),
    "anthropicPython": tried(with_anthropic),
}))
