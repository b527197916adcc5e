"""requests: a Session, and one without."""

import os
from concurrent.futures import ThreadPoolExecutor

import requests
from http_scenes import play, told, url


class Http:
    def __init__(self):
        self.session = requests.Session()

    def request(self, method, path, headers=None, body=None, redirects=True, timeout=20):
        answer = self.session.request(
            method, url + path, headers=headers, data=body, allow_redirects=redirects, timeout=timeout
        )
        return {**told(answer.status_code, answer.raw.headers.items(), answer.content), "hops": len(answer.history)}

    def stream(self, path):
        answer = self.session.get(url + path, stream=True, timeout=20)
        return (line.decode() for line in answer.iter_lines(chunk_size=1) if line)

    def more(self):
        def parallel():
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(lambda at: self.session.get(f"{url}/json?at={at}", timeout=20).json(), range(16)))

        def reused():
            adapter = self.session.get_adapter(url)
            self.request("GET", "/json")
            manager = adapter.proxy_manager.get(os.environ.get("HTTPS_PROXY"), adapter.poolmanager)
            pool = manager.connection_from_url(url)
            before = pool.num_connections
            self.request("GET", "/json")
            self.request("POST", "/echo", {}, b"x")
            return pool.num_connections - before

        def form():
            answer = self.session.post(url + "/echo", data={"a": "ä b", "c": "d"}, timeout=20)
            return told(answer.status_code, answer.raw.headers.items(), answer.content)

        def once():
            return requests.get(url + "/json", timeout=20).json()

        return {"parallel": parallel, "reused": reused, "form": form, "once": once}

    def close(self):
        self.session.close()


play(Http())
