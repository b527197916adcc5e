// Anthropic's SDKs and LangChain's models of it, unmodified: through the proxy as straight from the server, but for what is masked.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { npmPackages } from "../cache.ts";
import { maskedMark } from "../../../policy/llm/anthropic/kept-thinking.ts";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import { eventually, type ConnectionSetup } from "../../integration/http-proxy-fixture.ts";
import { anthropicServer, realKey, secretText, signature } from "./anthropic-server.ts";
import { nodeSdks, pythonSdks } from "./packages.ts";
import { playNode, playPython, providerRoom, standardTests, type Environment } from "./programs.ts";

const skip = reasonWithoutPython() ?? false;
const maskedText = "Ask [redacted], her card is [redacted].";

async function start(t: TestContext, more: Partial<ConnectionSetup> = {}) {
  const server = await anthropicServer(t);
  const room = await providerRoom(t, "anthropic", server.port, {
    lease: { kind: "headers", headers: [{ name: "x-api-key", value: realKey }] },
    ...more,
  });
  const env = (port: number, key: string): Environment => ({
    ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}`,
    ANTHROPIC_API_KEY: key,
  });
  return {
    server,
    room,
    direct: env(server.port, realKey),
    proxied: env(room.port, "held-by-chaperone"),
  };
}

/** What an agent should see of what the server says. */
function masked(seen: unknown): unknown {
  return JSON.parse(JSON.stringify(seen).replaceAll(secretText, maskedText));
}

for (const language of ["Python", "JavaScript"] as const)
  test(
    `scene by scene, ${language} sees through the proxy what it sees from the server, masked`,
    { skip: language === "Python" && skip },
    async (t) => {
      const { direct, proxied, room } = await start(t);
      const program =
        language === "Python"
          ? {
              play: playPython,
              packages: await pythonPackages(pythonSdks),
              script: "anthropic_scenes.py",
            }
          : {
              play: playNode,
              packages: await npmPackages(nodeSdks),
              script: "anthropic_scenes.mjs",
            };
      const [plain, shown] = await Promise.all(
        [direct, proxied].map((env) => program.play(program.packages, program.script, env)),
      );
      assert.ok(JSON.stringify(plain).includes(secretText));
      // Thinking that was masked has a mark before its signature, by which it is put back (test/integration/llm-thinking.test.ts).
      assert.ok(JSON.stringify(shown).includes(maskedMark + signature));
      assert.deepEqual(JSON.parse(JSON.stringify(shown).replaceAll(maskedMark, "")), masked(plain));
      assert.equal(
        JSON.stringify(shown).split(signature).length,
        JSON.stringify(plain).split(signature).length,
      );
      const operations = room.operations();
      assert.deepEqual(
        new Set(operations.map(({ body }) => body.operation?.summary)),
        new Set([
          "chat claude-test",
          "count-tokens claude-test",
          "models",
          ...(language === "Python" ? ["batches", "batches claude-test"] : []),
        ]),
      );
      const recorded = JSON.stringify(operations);
      assert.ok(recorded.includes(maskedText) && !recorded.includes("jane@example.com"));
      assert.ok(!JSON.stringify(room.events()).includes(realKey));
      const answered = operations.find(({ contents }) =>
        contents.some(({ text }) => text.includes("Hello there")),
      );
      assert.deepEqual(answered?.body.outcome?.tokens, { input: 112, output: 9, cacheRead: 100 });
    },
  );

test(
  "a denial is the SDKs' own exception with our sentence, and is not sent again",
  { skip },
  async (t) => {
    const { proxied, room, server } = await start(t, {
      rules: [{ action: "Allow", llm: { models: ["claude-test"] } }],
    });
    const seen = await playPython(await pythonPackages(pythonSdks), "anthropic_denied.py", proxied);
    assert.deepEqual(
      (seen as string[][]).map((one) => one.slice(0, 3)),
      ["", "", "Anthropic"].map((own) => [`${own}PermissionDeniedError`, 403, "permission_error"]),
    );
    assert.match(String((seen as string[][])[0]?.[3]), /claude-forbidden/);
    await eventually("they are recorded", () => room.operations().length >= 3);
    assert.equal(room.operations().length, 3);
    assert.equal(server.asked.length, 0);
  },
);

test(
  "LangChain's standard tests end through the proxy as they do straight from the server",
  { skip },
  async (t) => {
    const { direct, proxied } = await start(t);
    const packages = await pythonPackages(pythonSdks);
    const plain = await standardTests(packages, "anthropic_standard.py", direct);
    const shown = await standardTests(packages, "anthropic_standard.py", proxied);
    assert.deepEqual(shown, plain);
    const passed = Object.values(plain).filter((outcome) => outcome === "passed");
    assert.ok(passed.length >= 30, `${passed.length} pass: ${JSON.stringify(plain)}`);
  },
);
