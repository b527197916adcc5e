import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { ProxyError } from "../errors.ts";
import { readConnect } from "./connect-target.ts";

function read(target: string, headers: readonly string[] = []) {
  try {
    return readConnect(target, headers);
  } catch (error) {
    assert.ok(error instanceof ProxyError && error.code === "MalformedRequest", String(error));
    return undefined;
  }
}

const hostile = fc.string({
  unit: fc.constantFrom(
    ...Array.from("aB0.-_:@/?#[]%\\ \t\0\r\n,;"),
    "é",
    "443",
    "example.com",
    ":443",
    "127.0.0.1",
    "[::1]",
    "http://",
  ),
  maxLength: 10,
});

test("whatever target is read is the place that the URL standard reads", () => {
  let seen = 0;
  const target = fc.oneof(
    hostile,
    fc.tuple(hostile, fc.nat(70_000)).map(([host, port]) => `${host}:${port}`),
    fc.tuple(fc.domain(), fc.nat(70_000)).map(([host, port]) => `${host}:${port}`),
  );
  fc.assert(
    fc.property(target, (text) => {
      const place = read(text);
      if (place === undefined) return;
      const url = URL.parse(`https://${text}/`);
      // What is a name to DNS is more than what is one to a browser: there the browser reads nothing.
      if (url === null) return;
      seen++;
      assert.equal(url.username + url.password + url.pathname + url.search + url.hash, "/");
      assert.equal(place.port, url.port === "" ? 443 : Number(url.port));
      const theirs = url.hostname.replace(/\.$/, "");
      // A number in another base is an address to a browser and an unknown name here, which no Connection has.
      if (!/^[\d.]+$/.test(theirs) && !theirs.startsWith("["))
        assert.equal(place.host, theirs.toLowerCase());
    }),
    { numRuns: 3_000 },
  );
  assert.ok(seen > 300, `only ${seen} targets were read`);
});

test("a Host header that names another place is refused, whatever it says", () => {
  fc.assert(
    fc.property(
      fc.domain(),
      fc.domain(),
      fc.integer({ min: 1, max: 65_535 }),
      (host, other, port) => {
        const target = `${host}:${port}`;
        assert.deepEqual(read(target, ["host", target]), { host: host.toLowerCase(), port });
        assert.deepEqual(read(target, ["host", host.toUpperCase()]), {
          host: host.toLowerCase(),
          port,
        });
        if (host.toLowerCase() !== other.toLowerCase())
          assert.equal(read(target, ["host", `${other}:${port}`]), undefined);
        assert.equal(read(target, ["host", `${host}:${port === 1 ? 2 : port - 1}`]), undefined);
        assert.equal(read(target, ["host", target, "host", target]), undefined);
      },
    ),
  );
});
