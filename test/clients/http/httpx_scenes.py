"""httpx: a Client, and an AsyncClient for what happens at once; over HTTP/2 where HTTPX_HTTP2 is set."""

import asyncio
import os

import httpx
from http_scenes import play, told, url

http2 = os.environ.get("HTTPX_HTTP2") == "1"


class Http:
    def __init__(self):
        self.client = httpx.Client(base_url=url, timeout=20, http2=http2)

    def request(self, method, path, headers=None, body=None, redirects=True, timeout=20):
        answer = self.client.request(
            method, path, headers=headers, content=body, follow_redirects=redirects, timeout=timeout
        )
        return {**told(answer.status_code, answer.headers.multi_items(), answer.content), "hops": len(answer.history)}

    def stream(self, path):
        with self.client.stream("GET", path) as answer:
            yield from (line for line in answer.iter_lines() if line)

    def aside(self, method, path):
        """A sync client has one stream of HTTP/2 at a time."""
        with httpx.Client(base_url=url, timeout=20, http2=http2) as other:
            return {"status": other.request(method, path).status_code}

    def more(self):
        async def together():
            async with httpx.AsyncClient(base_url=url, timeout=20, http2=http2) as client:
                answers = await asyncio.gather(*(client.get(f"/json?at={at}") for at in range(16)))
                return [answer.json() for answer in answers]

        def reused():
            ports = set()
            for _ in range(3):
                with self.client.stream("GET", "/json") as answer:
                    ports.add(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
                    answer.read()
            return len(ports)

        return {"parallel": lambda: asyncio.run(together()), "reused": reused}

    def close(self):
        self.client.close()


play(Http())
