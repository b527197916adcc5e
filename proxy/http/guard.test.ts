import assert from "node:assert/strict";
import { test } from "node:test";

import { checkGuard } from "./guard.ts";
import { readHead } from "./head.ts";

const key = "held-by-chaperone-0123456789abcdef";

function ask(target: string, ...headers: string[]): void {
  checkGuard({ key }, readHead("GET", target, ["Host", "127.0.0.1", ...headers]));
}

test("the placeholder key is found where a client puts its own: a header, Basic, or a query parameter", () => {
  ask("/a", "Authorization", `Bearer ${key}`);
  ask("/a", "X-Api-Key", key);
  ask("/a", "Authorization", `Basic ${btoa(`agent:${key}`)}`);
  ask(`/a?x=1&key=${key}`);
  for (const target of ["/a", `/${key}`, `/a?x=1&key=${key}0`, `/a?key=${key.slice(1)}`])
    assert.throws(() => ask(target), /placeholder key of this run is missing/, target);
});
