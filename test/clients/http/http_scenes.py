"""The scenes that every HTTP client of Python plays, over an adapter of a few lines for each client.

usage of each script: script.py URL TOKEN; prints one JSON object, a result for each scene.
An adapter has `request(method, path, headers, body, redirects, timeout)`, `stream(path)` and, where one connection cannot do both, `aside(method, path)`; what it raises is a result by its class.
"""

import hashlib
import json
import sys
import uuid

url, token = sys.argv[1:3]

_HOP = {"date", "connection", "keep-alive", "transfer-encoding"}
_BODY = "äöü and a line\n" * 50
_PATTERN = b"".join(((at * 2654435761) & 0xFFFFFFFF).to_bytes(4, "little") for at in range(0, 1024 * 1024, 4))


def digest(body):
    return hashlib.sha256(body).hexdigest()[:16]


def told(status, headers, body):
    """`headers` is a list of pairs."""
    kept = sorted((name.lower(), value) for name, value in headers if name.lower() not in _HOP)
    if len(body) < 1500:
        shown = body.decode("utf-8", "replace")
    else:
        shown = f"{len(body)} bytes {digest(body)}"
    return {"status": status, "headers": [list(pair) for pair in kept], "body": shown}


def pieces():
    for at in range(0, 200_000, 9_000):
        yield _PATTERN[at : min(at + 9_000, 200_000)]


def _events(http):
    """The first event arrives while the origin still waits for somebody who has read it."""
    ident = uuid.uuid4().hex
    lines = http.stream(f"/events?id={ident}")
    first = [next(lines), next(lines)]
    released = getattr(http, "aside", http.request)("POST", f"/release?id={ident}")["status"]
    return first, released, list(lines)


def scenes(http):
    ask = http.request
    return {
        "get": lambda: ask("GET", "/json?a=1&b=two%20words&c=%C3%A9&d=a%2Fb"),
        "head": lambda: ask("HEAD", "/json"),
        "json": lambda: ask("POST", "/echo", {"content-type": "application/json"}, json.dumps({"a": [1, None]}).encode()),
        "text": lambda: ask("PUT", "/echo/path%20with/é?x=ü", {"content-type": "text/plain"}, _BODY.encode()),
        "empty": lambda: ask("POST", "/echo", {}, b""),
        "patch": lambda: ask("PATCH", "/echo", {}, b"{}"),
        "delete": lambda: ask("DELETE", "/echo"),
        "options": lambda: ask("OPTIONS", "/echo"),
        "seen": lambda: ask("GET", "/seen", {"X-Own": "mine", "Accept-Language": "de, en;q=0.5", "X-Empty": ""}),
        "megabyte-down": lambda: ask("GET", "/big"),
        "megabyte-both": lambda: ask("POST", "/mirror", {"content-type": "application/octet-stream"}, _PATTERN),
        "chunked-up": lambda: ask("POST", "/echo", {}, pieces()),
        "chunked-down": lambda: ask("GET", "/chunks"),
        "gzip": lambda: ask("GET", "/gzip"),
        "events": lambda: _events(http),
        "redirects": lambda: ask("GET", "/redirect/3"),
        "redirect-kept": lambda: ask("POST", "/redirect/same", {}, b"kept"),
        "redirect-seen": lambda: ask("GET", "/redirect/away", redirects=False),
        "no-content": lambda: ask("GET", "/status/204"),
        "not-found": lambda: ask("GET", "/status/404"),
        "too-many": lambda: ask("GET", "/status/429"),
        "server-error": lambda: ask("GET", "/status/500"),
        "unavailable": lambda: ask("POST", "/status/503", {}, b"x"),
        "etag": lambda: [ask("GET", "/etag"), ask("GET", "/etag", {"If-None-Match": '"v1-e"'})],
        "range": lambda: [
            ask("GET", "/range", {"Range": "bytes=100-299"}),
            ask("GET", "/range", {"Range": "bytes=65000-"}),
            ask("GET", "/range", {"Range": "bytes=99999-"}),
        ],
        "trailers": lambda: ask("GET", "/trailers"),
        "slow": lambda: ask("GET", "/slow"),
        "gives-up": lambda: ask("GET", "/never", timeout=0.3),
        "cut": lambda: ask("GET", "/cut"),
        "after-cut": lambda: ask("GET", "/json"),
        "cookies": lambda: [ask("GET", "/cookies/set"), ask("GET", "/cookies"), ask("GET", "/cookies/below")],
        "large-answer-header": lambda: ask("GET", "/large"),
        "large-request-header": lambda: ask("GET", "/seen", {"x-large": "q" * 8000}),
        "credential": lambda: ask("GET", "/private", {"Authorization": f"Bearer {token}"}),
        **http.more(),
    }


def play(http):
    results = {}
    for name, scene in scenes(http).items():
        try:
            results[name] = scene()
        except Exception as error:
            # What the client raised, and nothing of what lies beneath: that may tell how TLS or a socket ended.
            results[name] = {"error": type(error).__name__}
    http.close()
    print(json.dumps(results))
