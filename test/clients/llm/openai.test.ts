// OpenAI's SDKs, LangChain's models of it and Ollama's clients, unmodified: through the proxy as straight from the server, but for what is masked.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { npmPackages } from "../cache.ts";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import {
  eventually,
  startRoom,
  type ConnectionSetup,
} from "../../integration/http-proxy-fixture.ts";
import { startOpenAiServer } from "../../openai-server/server.ts";
import {
  everyDetector,
  playNode,
  playPython,
  standardTests,
  type Environment,
} from "./programs.ts";

const skip = reasonWithoutPython() ?? false;
const realKey = "sk-real-and-never-with-the-agent";
const address = "jane@example.com";
const secretText = `Ask ${address}, her card is 4111 1111 1111 1111.`;
const script = {
  models: undefined,
  steps: [
    { match: { text: "agent" }, plays: "agent" as const },
    { match: { role: "tool" as const }, plays: "agent" as const },
    {
      match: { text: "fail" },
      error: { status: 400, message: secretText, type: "invalid_request_error", code: "no" },
    },
    { text: secretText },
  ],
};

const pythonSdks = [
  "openai==3.57.0",
  "langchain==1.5.2",
  "langchain-openai==1.7.4",
  "langchain-tests==1.1.9",
  "ollama==0.6.3",
];
const nodeSdks = [
  "openai@7.59.0",
  "@langchain/openai@1.6.0",
  "@langchain/core@1.2.13",
  "langchain@1.5.14",
  "ollama@0.6.4",
  "zod@4.6.7",
];

async function start(t: TestContext, more: Partial<ConnectionSetup> = {}, plays = false) {
  const { models: _any, ...scenes } = script;
  const server = await startOpenAiServer({
    script: plays ? { steps: [{ plays: "agent" }] } : scenes,
    apiKey: realKey,
  });
  t.after(() => server.close());
  const room = await startRoom(t, [
    {
      protocol: "openai",
      detectMasks: everyDetector,
      detail: "Full",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: `Bearer ${realKey}` }] },
      ...more,
      upstream: { port: server.port },
    },
  ]);
  const env = (port: number, key: string, model = "gpt-test"): Environment => ({
    OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`,
    OPENAI_API_KEY: key,
    HOST: `http://127.0.0.1:${port}`,
    MODEL: model,
  });
  return {
    server,
    room,
    direct: env(server.port, realKey),
    proxied: env(room.port, "held-by-chaperone"),
    denied: env(room.port, "held-by-chaperone", "gpt-forbidden"),
  };
}

/** What an agent should see of what the server says. */
function masked(seen: unknown): unknown {
  return JSON.parse(
    JSON.stringify(seen)
      .replaceAll(secretText, "Ask [redacted], her card is [redacted].")
      .replaceAll(`for ${address}`, "for [redacted]"),
  );
}

for (const language of ["Python", "JavaScript"] as const)
  test(
    `scene by scene, ${language} sees through the proxy what it sees from the server, masked`,
    { skip: language === "Python" && skip },
    async (t) => {
      const { direct, proxied, room } = await start(t);
      const program = async (env: Environment) =>
        language === "Python"
          ? playPython(await pythonPackages(pythonSdks), "openai_scenes.py", env)
          : playNode(await npmPackages(nodeSdks), "openai_scenes.mjs", env);
      const plain = await program(direct);
      const shown = await program(proxied);
      assert.ok(JSON.stringify(plain).includes(secretText));
      assert.deepEqual(shown, masked(plain));
      const operations = room.operations();
      const recorded = JSON.stringify(operations);
      // What the agent's own tool said goes out and is recorded as asked, since nothing masks requests here.
      const answers = operations.flatMap(({ contents }) =>
        contents.filter(({ part }) => part === "response"),
      );
      assert.ok(answers.length > 10);
      for (const { text } of answers) assert.ok(!text.includes(secretText), text);
      assert.ok(!recorded.includes(realKey) && !JSON.stringify(room.events()).includes(realKey));
      for (const { body } of operations)
        assert.notEqual(body.operation?.facts?.["operation"], "other", body.operation?.summary);
    },
  );

for (const [what, rules] of [
  ["denial", [{ name: "one", llm: { models: ["gpt-test"] } }]],
  [
    "held request",
    [
      {
        name: "ask",
        action: "RequireApproval",
        approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 600 },
      },
    ],
  ],
] as const)
  test(
    `a ${what} is the SDKs' own exception with our sentence, and is sent once`,
    { skip },
    async (t) => {
      const { denied, room, server } = await start(t, { rules });
      const code = what === "denial" ? "Denied" : "Pending";
      const [ofPython, ofNode] = [await pythonPackages(pythonSdks), await npmPackages(nodeSdks)];
      for (const play of [
        () => playPython(ofPython, "openai_denied.py", denied),
        () => playNode(ofNode, "openai_scenes.mjs", denied, "denied"),
      ]) {
        const before = room.operations().length;
        const seen = await play();
        assert.ok(Array.isArray(seen) && seen.length === 5);
        const kinds = seen.map((one: unknown[]) => one.slice(0, 3));
        assert.deepEqual(
          kinds.slice(0, 3),
          Array.from({ length: 3 }, () => ["PermissionDeniedError", 403, code]),
        );
        assert.equal(kinds[3]?.[1], 403);
        assert.deepEqual(kinds[4]?.slice(0, 2), ["ResponseError", 403]);
        for (const [, , , sentence] of seen as string[][])
          assert.match(sentence ?? "", what === "denial" ? /gpt-forbidden/ : /req-1/);
        await eventually("they are recorded", () => room.operations().length >= before + 5);
        assert.equal(room.operations().length, before + 5, "no retry");
      }
      assert.equal(server.requests.length, 0);
    },
  );

test(
  "LangChain's standard tests end through the proxy as they do straight from the server",
  { skip },
  async (t) => {
    const { direct, proxied } = await start(t, {}, true);
    const packages = await pythonPackages(pythonSdks);
    const plain = await standardTests(packages, "openai_standard.py", direct);
    const shown = await standardTests(packages, "openai_standard.py", proxied);
    assert.deepEqual(shown, plain);
    const passed = Object.values(plain).filter((outcome) => outcome === "passed");
    assert.ok(passed.length >= 85, `${passed.length} pass: ${JSON.stringify(plain)}`);
    assert.ok(!Object.values(plain).includes("failure"), JSON.stringify(plain));
  },
);
