// Google's SDKs for Gemini, unmodified: through the proxy as straight from the server, but for what is masked.
import assert from "node:assert/strict";
import { test } from "node:test";
import { npmPackages } from "../cache.ts";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import { secretText } from "./anthropic-server.ts";
import { geminiKey, geminiServer, thoughtSignature } from "./gemini-server.ts";
import { nodeSdks, pythonSdks } from "./packages.ts";
import { playNode, playPython, providerRoom, type Environment } from "./programs.ts";

const skip = reasonWithoutPython() ?? false;
const maskedText = "Ask [redacted], her card is [redacted].";

for (const language of ["Python", "JavaScript"] as const)
  test(
    `scene by scene, ${language} sees through the proxy what it sees from the server, masked`,
    { skip: language === "Python" && skip },
    async (t) => {
      const server = await geminiServer(t);
      const room = await providerRoom(t, "gemini", server.port, {
        lease: { kind: "headers", headers: [{ name: "x-goog-api-key", value: geminiKey }] },
        rules: [
          { action: "Allow", llm: { models: ["gemini-test"] } },
          { action: "Allow", llm: { operations: ["models"] } },
        ],
      });
      const env = (port: number, key: string): Environment => ({
        TEST_BASE_URL: `http://127.0.0.1:${port}`,
        TEST_API_KEY: key,
      });
      const program =
        language === "Python"
          ? {
              play: playPython,
              packages: await pythonPackages(pythonSdks),
              script: "gemini_scenes.py",
            }
          : { play: playNode, packages: await npmPackages(nodeSdks), script: "gemini_scenes.mjs" };
      const [plain, shown] = await Promise.all(
        [env(server.port, geminiKey), env(room.port, "held-by-chaperone")].map(
          async (way) =>
            (await program.play(program.packages, program.script, way)) as Record<string, unknown>,
        ),
      );
      const { denied: _, ...expected } = JSON.parse(
        JSON.stringify(plain).replaceAll(secretText, maskedText),
      ) as Record<string, unknown>;
      const { denied, ...seen } = shown ?? {};
      assert.ok(JSON.stringify(plain).includes(secretText));
      assert.deepEqual(seen, expected);
      assert.ok(JSON.stringify(seen).includes(thoughtSignature));
      const recorded = JSON.stringify(room.operations());
      assert.ok(recorded.includes(maskedText) && !recorded.includes("jane@example.com"));
      assert.ok(!JSON.stringify(room.events()).includes(geminiKey));
      assert.deepEqual(room.operations()[0]?.body.outcome?.tokens, { input: 12, output: 11 });
      if (language !== "Python") return;
      assert.deepEqual((denied as unknown[]).slice(0, 2), [403, "PERMISSION_DENIED"]);
      assert.match(String((denied as unknown[])[2]), /gemini-forbidden/);
      const refusals = room
        .operations()
        .filter(({ body }) => body.operation?.summary === "chat gemini-forbidden");
      assert.equal(refusals.length, 1);
    },
  );
