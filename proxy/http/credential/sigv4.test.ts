import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { amzDate, emptySha256, sign, signChunk, streamingPayload } from "./sigv4.ts";
import type { Scope, SigningKeys } from "./sigv4.ts";

/** Of AWS's own test suite (aws-sig-v4-test-suite). */
const suiteKeys = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};
const suiteScope = { service: "service", region: "us-east-1" };
const suiteDate = "20150830T123600Z";

for (const [name, method, target, signature] of [
  ["get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"],
  ["post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"],
  [
    "get-vanilla-query-order-key-case",
    "GET",
    "/?Param2=value2&Param1=value1",
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
] as const) {
  test(`AWS's test suite: ${name}`, () => {
    const signed = sign(
      {
        method,
        target,
        headers: ["host", "example.amazonaws.com", "x-amz-date", suiteDate],
        payload: emptySha256,
        date: suiteDate,
      },
      suiteKeys,
      suiteScope,
    );
    assert.equal(
      signed.authorization,
      `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=${signature}`,
    );
  });
}

/** https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, the example. */
test("AWS's example of a body in chunks has the signatures that are printed there", () => {
  const date = "20130524T000000Z";
  const signed = sign(
    {
      method: "PUT",
      target: "/examplebucket/chunkObject.txt",
      headers: [
        "content-encoding",
        "aws-chunked",
        "content-length",
        "66824",
        "host",
        "s3.amazonaws.com",
        "x-amz-content-sha256",
        streamingPayload,
        "x-amz-date",
        date,
        "x-amz-decoded-content-length",
        "66560",
        "x-amz-storage-class",
        "REDUCED_REDUNDANCY",
      ],
      payload: streamingPayload,
      date,
    },
    {
      accessKeyId: "AKIAIOSFODNN7EXAMPLE",
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    },
    { service: "s3", region: "us-east-1" },
  );
  const body = Buffer.alloc(66_560, "a");
  const signatures = [signed.signature];
  for (const chunk of [body.subarray(0, 65_536), body.subarray(65_536), Buffer.alloc(0)])
    signatures.push(signChunk(signed, date, signatures.at(-1) ?? "", chunk));
  assert.deepEqual(signatures, [
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
  ]);
});

interface Vector extends SigningKeys, Scope {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly payload: string;
  readonly sessionToken: string | null;
  readonly authorization: string;
}

const { date, vectors } = JSON.parse(
  readFileSync(new URL("../../../test/corpus/sigv4/vectors.json", import.meta.url), "utf8"),
) as { readonly date: string; readonly vectors: readonly Vector[] };

test("botocore signs the same requests alike: paths, queries, headers, session tokens, s3 and others", () => {
  assert.ok(vectors.length > 50);
  for (const vector of vectors) {
    const token = vector.sessionToken === null ? [] : ["x-amz-security-token", vector.sessionToken];
    const own = ["x-amz-date", date, "x-amz-content-sha256", vector.payload, ...token];
    const headers = [...vector.headers, ...own];
    const { method, target, payload } = vector;
    const signed = sign({ method, target, headers, payload, date }, vector, vector);
    assert.equal(signed.authorization, vector.authorization, target);
  }
});

test("a date is written in the basic form, without fractions", () => {
  assert.equal(amzDate(Date.parse("2026-11-20T10:00:07.999Z")), "20261120T100007Z");
});
