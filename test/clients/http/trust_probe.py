"""One request of every client of Python, to a name whose certificate only the pod's CA vouches for: true, or the class of the error."""

import json
import subprocess
import sys

import anthropic
import httpx
import openai
import requests
import urllib3

url = "https://api.example.test"


def with_requests():
    return requests.get(f"{url}/json", timeout=20).ok


def with_urllib3():
    return urllib3.PoolManager().request("GET", f"{url}/json", retries=False).status == 200


def with_httpx():
    return httpx.get(f"{url}/json").is_success


def with_httpx2():
    with httpx.Client(http2=True) as client:
        return client.get(f"{url}/json").is_success


AIOHTTP = """
import asyncio, sys, aiohttp
async def ask():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1]) as answer:
        return answer.ok
assert asyncio.run(ask())
"""


def with_aiohttp():
    """Makes its TLS context as it is imported, which other clients do: in a process of its own."""
    return subprocess.run([sys.executable, "-c", AIOHTTP, f"{url}/json"], stderr=subprocess.DEVNULL).returncode == 0


def with_openai():
    return bool(openai.OpenAI(max_retries=0).embeddings.create(model="gpt-test", input="hi").data)


def with_anthropic():
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
