// boto3's client of Bedrock, unmodified and with placeholder keys: through the proxy as straight from the server, but for what is masked.
import assert from "node:assert/strict";
import { test } from "node:test";
import { maskedMark } from "../../../policy/llm/anthropic/kept-thinking.ts";
import { lease, verified } from "../../integration/aws-origin.ts";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import { secretText, signature } from "./anthropic-server.ts";
import { bedrockServer } from "./bedrock-server.ts";
import { pythonSdks } from "./packages.ts";
import { playPython, providerRoom } from "./programs.ts";

const skip = reasonWithoutPython() ?? false;
const maskedText = "Ask [redacted], her card is [redacted].";
const bedrockLease = { ...lease, service: "bedrock" };

test(
  "scene by scene, boto3 sees through the proxy what it sees from the server, masked",
  { skip },
  async (t) => {
    const server = await bedrockServer(t);
    const room = await providerRoom(t, "bedrock", server.port, {
      lease: bedrockLease,
      rules: [{ action: "Allow", llm: { models: ["*anthropic.claude-*"] } }],
    });
    const packages = await pythonPackages(pythonSdks);
    const seenFrom = async (port: number) =>
      (await playPython(packages, "bedrock_scenes.py", {
        TEST_BASE_URL: `http://127.0.0.1:${port}`,
      })) as Record<string, unknown>;
    const { denied: _, ...plain } = await seenFrom(server.port);
    const direct = server.asked.length;
    const { denied, ...shown } = await seenFrom(room.port);
    assert.ok(
      JSON.stringify(plain).includes(secretText) && JSON.stringify(plain).includes(signature),
    );
    // Thinking that was masked has a mark before its signature, by which it is put back (test/integration/llm-thinking-converse.test.ts).
    assert.ok(JSON.stringify(shown).includes(maskedMark + signature));
    assert.deepEqual(
      JSON.parse(JSON.stringify(shown).replaceAll(maskedMark, "")),
      JSON.parse(JSON.stringify(plain).replaceAll(secretText, maskedText)),
    );
    assert.deepEqual((denied as unknown[]).slice(0, 2), ["AccessDeniedException", 403]);
    assert.match(String((denied as unknown[])[2]), /meta\.llama-forbidden/);
    const through = server.asked.slice(direct);
    for (const { method, path, rawHeaders, raw } of through)
      verified({ method, target: path, rawHeaders, body: raw }, bedrockLease);
    assert.equal(through.filter(({ path }) => path.includes("forbidden")).length, 0);
    const operations = room.operations();
    assert.equal(operations.filter(({ body }) => body.decision?.verdict === "deny").length, 1);
    const recorded = JSON.stringify(operations);
    assert.ok(recorded.includes(maskedText) && !recorded.includes("jane@example.com"));
    assert.ok(!JSON.stringify(room.events()).includes(lease.secretAccessKey));
    assert.deepEqual(operations[3]?.body.outcome?.tokens, { input: 12, output: 9 });
  },
);
