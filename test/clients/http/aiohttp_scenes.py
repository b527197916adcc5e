"""aiohttp: it reads the proxy variables where the program says `trust_env`."""

import asyncio
import os

import aiohttp
from http_scenes import play, told, url
from yarl import URL

loop = asyncio.new_event_loop()
trust_env = "HTTPS_PROXY" in os.environ


class Http:
    def __init__(self):
        async def session():
            self.opened = 0
            trace = aiohttp.TraceConfig()

            async def count(*_):
                self.opened += 1

            trace.on_connection_create_end.append(count)
            return aiohttp.ClientSession(
                trust_env=trust_env, trace_configs=[trace], max_field_size=16384, max_line_size=16384
            )

        self.session = loop.run_until_complete(session())

    def request(self, *args, **kwargs):
        return loop.run_until_complete(self._request(*args, **kwargs))

    async def _request(self, method, path, headers=None, body=None, redirects=True, timeout=20, **more):
        if body is not None and not isinstance(body, bytes):
            body = self._pieces(body)
        async with self.session.request(
            method, URL(url + path, encoded=path.isascii()), headers=headers, data=body,
            allow_redirects=redirects, timeout=aiohttp.ClientTimeout(timeout), **more,
        ) as answer:
            content = await answer.read()
            return {**told(answer.status, answer.headers.items(), content), "hops": len(answer.history)}

    async def _pieces(self, body):
        for piece in body:
            yield piece

    def stream(self, path):
        answer = loop.run_until_complete(self.session.get(url + path))
        while True:
            line = loop.run_until_complete(answer.content.readline())
            if not line:
                return
            if line.strip():
                yield line.decode().strip()

    def more(self):
        async def together():
            return await asyncio.gather(*(self._request("GET", f"/json?at={at}") for at in range(16)))

        def reused():
            self.request("GET", "/json")
            before = self.opened
            self.request("GET", "/json")
            self.request("POST", "/echo", {}, b"x")
            return self.opened - before

        return {
            "parallel": lambda: loop.run_until_complete(together()),
            "reused": reused,
            "continue": lambda: self.request("POST", "/echo", {}, b"x" * 5000, expect100=True),
            "refused-early": lambda: self.request("POST", "/too-large", {}, b"x" * 5000, expect100=True)["status"],
        }

    def close(self):
        loop.run_until_complete(self.session.close())


play(Http())
