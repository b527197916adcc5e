// Masked streams in the very readers of the SDKs: whatever the texts are, and whatever they are cut into, they parse, and say what the
// masked answer says that is not streamed.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

/**
 * Checks a property in a thread of its own: the test runner follows every promise of its own thread, which takes more time than to read
 * a stream byte by byte does. What fails there fails the test.
 */
async function holds(property: "anthropic" | "google"): Promise<void> {
  const file = new URL("./streams-properties.ts", import.meta.url);
  const [code] = await once(new Worker(file, { workerData: property }), "exit");
  assert.equal(code, 0);
}

test("Anthropic's reads a message with text and a tool call", () => holds("anthropic"));

test("Google's reads content", () => holds("google"));
