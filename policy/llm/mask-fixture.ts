// For the tests of masks in answers: a masker with every detector, bodies cut anywhere, and what a masked body says.
import assert from "node:assert/strict";
import { detectorNames } from "../mask/detectors.ts";
import { cutAt } from "../mask/stream-fixture.ts";
import { createStreamMasker, type Counts } from "../mask/stream.ts";
import { bodyMasker } from "./mask-answer.ts";
import type { LlmProvider } from "./provider.ts";

export const masker = createStreamMasker(
  detectorNames.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "a/b" })),
  Buffer.alloc(32),
);

export function maskedBody(
  provider: LlmProvider,
  contentType: string,
  parts: readonly Uint8Array[],
): { bytes: Buffer; text: string; counts: Counts } {
  const counts: Counts = {};
  const body = bodyMasker(contentType, provider, masker, counts);
  assert.ok(typeof body === "object" && "push" in body, JSON.stringify(body));
  const shown = [...parts.map((part) => body.push(part)), body.end()];
  const bytes = Buffer.concat(
    shown.map((one) => (typeof one === "string" ? Buffer.from(one) : Buffer.from(one))),
  );
  return { bytes, text: bytes.toString("utf8"), counts };
}

/** Bytes cut anywhere, characters of several bytes too. */
export function chunksOf(body: string | Buffer, at: "each" | readonly number[]): Buffer[] {
  const bytes = Buffer.from(body);
  return cutAt(bytes.toString("latin1"), at).map((part) => Buffer.from(part, "latin1"));
}

/** The data of server-sent events, and their names, in their order. */
export function eventsOf(text: string): { name: string | undefined; data: unknown }[] {
  return text
    .split("\n\n")
    .filter((event) => /^(?:event: .*\n)?data: \{/.test(event))
    .map((event) => ({
      name: /^event: (.*)$/m.exec(event)?.[1],
      data: JSON.parse(event.slice(event.indexOf("data: ") + 6)),
    }));
}
