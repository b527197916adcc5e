import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { defaultProxyUid } from "../operator/injection/settings.ts";

/** The stages of the images' Dockerfile, each as its lines. */
function stages(): readonly (readonly string[])[] {
  const text = readFileSync(join(import.meta.dirname, "../images/Dockerfile"), "utf8");
  return text
    .split(/^(?=FROM )/m)
    .filter((part) => part.startsWith("FROM "))
    .map((part) => part.split("\n").filter((line) => line !== "" && !line.startsWith("#")));
}

test("every image runs as a user of its own who is not root, the proxy's as the one that injection names", () => {
  const users = stages().map((lines) =>
    lines.filter((line) => line.startsWith("USER ")).map((line) => line.slice("USER ".length)),
  );
  assert.deepEqual(users, [[`${defaultProxyUid}:${defaultProxyUid}`], ["65532:65532"]]);
});

test("what changes with every build is the last step of an image, so that those before it are kept", () => {
  for (const lines of stages()) assert.match(lines.at(-1) ?? "", /^COPY /, lines[0]);
});
