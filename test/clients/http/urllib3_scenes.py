"""urllib3: it reads no proxy variable, so a program that wants one names it, as its documentation shows."""

import os
from concurrent.futures import ThreadPoolExecutor

import urllib3
from http_scenes import play, told, url


class Http:
    def __init__(self):
        proxy = os.environ.get("HTTPS_PROXY")
        self.pool = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()

    def request(self, method, path, headers=None, body=None, redirects=True, timeout=20):
        answer = self.pool.request(
            method, url + path, headers=headers, body=body, redirect=redirects, timeout=timeout, retries=urllib3.Retry(3, connect=0, read=0, respect_retry_after_header=False)
        )
        return told(answer.status, answer.headers.items(), answer.data)

    def stream(self, path):
        answer = self.pool.request("GET", url + path, preload_content=False, timeout=20)
        buffered = b""
        for chunk in answer.stream():
            buffered += chunk
            while b"\n" in buffered:
                line, buffered = buffered.split(b"\n", 1)
                if line:
                    yield line.decode()

    def more(self):
        def parallel():
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(lambda at: self.request("GET", f"/json?at={at}")["body"], range(16)))

        def reused():
            pool = self.pool.connection_from_url(url)
            self.request("GET", "/json")
            before = pool.num_connections
            self.request("GET", "/json")
            self.request("POST", "/echo", {}, b"x")
            return pool.num_connections - before

        return {"parallel": parallel, "reused": reused}

    def close(self):
        self.pool.clear()


play(Http())
