// MCP's official SDKs, unmodified, on both ends: scene by scene the same through the proxy as straight from the server, over every
// transport and in both generations of the protocol; and what a policy refuses, as an agent meets it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { npmPackages } from "../cache.ts";
import {
  ownEnvironment,
  printedByPython,
  pythonPackages,
  pythonProgram,
  reasonWithoutPython,
} from "../python.ts";
import { skipped } from "../toolchains.ts";
import { play, script } from "./play.ts";
import type { Scenes } from "./play.ts";
import { startMcpLocal, startServer } from "./room.ts";
import type { McpLocal, Started } from "./room.ts";

const options = skipped(reasonWithoutPython());
/** A Connection for each. */
const streams = ["mcp", "json", "sse"];
const everything = `    - {name: all, action: Allow, mcp: {methods: ["*"]}}\n`;
const little = `    - {name: tools, action: Allow, mcp: {tools: [test_simple_text, test_sampling, add, echo], arguments: {}}}
    - {name: orders, action: Allow, mcp: {resources: ["data://orders/*", "test://static-text"]}}
    - {name: never, action: Deny, mcp: {tools: [echo], arguments: {value: ".*Straße.*"}}, message: "No German streets."}
`;

let packages: string;
let newer: string;
let python: string;
let newerPython: string;
let server: Started;
let modern: Started;
const rooms = new Map<string, Promise<McpLocal>>();

/** Opened once for each server and policy; every client brings sessions of its own. */
function room(port: number, rules: string, paths: readonly string[] = ["mcp"]): Promise<McpLocal> {
  const key = [port, rules, ...paths].join();
  const opened = rooms.get(key) ?? startMcpLocal(port, paths, rules);
  rooms.set(key, opened);
  return opened;
}

before(async () => {
  if (options.skip !== false) return;
  packages = await npmPackages(["@modelcontextprotocol/sdk@1.32.2"]);
  newer = await npmPackages([
    "@modelcontextprotocol/client@2.4.0",
    "@modelcontextprotocol/server@2.4.0",
  ]);
  python = await pythonPackages(["mcp==1.30.0"]);
  newerPython = await pythonPackages(["mcp==2.3.0"]);
  server = await startServer([process.execPath, script("server.mjs"), packages]);
  modern = await startServer([pythonProgram(), script("server_modern.py")], {
    PYTHONPATH: newerPython,
  });
});

after(async () => {
  for (const one of rooms.values()) await (await one).close();
  await server?.close();
  await modern?.close();
});

async function byPython(packages: string, name: string, ...args: string[]): Promise<Scenes> {
  const play = { script: script(name), args, cwd: process.cwd(), env: ownEnvironment() };
  return (await printedByPython(packages, play)) as Scenes; // an object of scenes, as each prints
}

const typescript = (url: string, transport: string): Promise<Scenes> =>
  play([process.execPath, script("sdk_scenes.mjs"), packages, url, transport]);
const pythonOne = (url: string, transport: string): Promise<Scenes> =>
  byPython(python, "sdk_scenes.py", url, transport);
const typescriptTwo = (url: string): Promise<Scenes> =>
  play([process.execPath, script("modern_scenes.mjs"), newer, url]);
const pythonTwo = (url: string): Promise<Scenes> => byPython(newerPython, "modern_scenes.py", url);

const said = (scenes: Scenes, name: string): string => JSON.stringify(scenes[name]);

describe("with a policy that allows everything", () => {
  let allowing: McpLocal;
  before(async () => {
    if (options.skip === false) allowing = await room(server.port, everything, streams);
  });

  for (const [path, transport] of [
    ["mcp", "streamable"],
    ["json", "json"],
    ["sse", "sse"],
  ] as const)
    for (const [name, client] of [
      ["TypeScript 1.x", typescript],
      ["Python 1.x", pythonOne],
    ] as const)
      test(
        `${name} over ${transport} sees what it sees straight from the server`,
        options,
        async () => {
          const direct = await client(`http://127.0.0.1:${server.port}/${path}`, transport);
          assert.ok(Object.keys(direct).length > 10);
          assert.deepEqual(await client(allowing.url(path), transport), direct);
        },
      );

  for (const [name, client] of [
    ["TypeScript 2.x", typescriptTwo],
    ["Python 2.x", pythonTwo],
  ] as const)
    test(
      `${name} without a session sees what it sees straight from the server`,
      options,
      async () => {
        const allowingModern = await room(modern.port, everything);
        const direct = await client(`http://127.0.0.1:${modern.port}/mcp`);
        assert.equal(direct["version"], "2026-07-28");
        assert.match(said(direct, "confirm"), /confirmed/);
        assert.deepEqual(await client(allowingModern.url("mcp")), direct);
      },
    );
});

describe("with a policy that allows little", () => {
  const names = (scenes: Scenes): string[] =>
    (scenes["tools"] as { tools: { name: string }[] }).tools.map(({ name }) => name).toSorted();

  for (const [path, transport] of [
    ["mcp", "streamable"],
    ["sse", "sse"],
  ] as const)
    for (const [name, client] of [
      ["TypeScript 1.x", typescript],
      ["Python 1.x", pythonOne],
    ] as const)
      test(
        `${name} over ${transport} sees the tools it may use, and reads refusals as results`,
        options,
        async () => {
          const strict = await room(server.port, little, streams);
          const scenes = await client(strict.url(path), transport);
          assert.deepEqual(names(scenes), ["echo", "test_sampling", "test_simple_text"]);
          assert.match(said(scenes, "text"), /simple text response/);
          assert.match(said(scenes, "mixed"), /"isError":true/);
          assert.match(
            said(scenes, "mixed"),
            /no rule allows tools\/call test_multiple_content_types/,
          );
          assert.match(said(scenes, "echo"), /No German streets/);
          assert.match(said(scenes, "sampling"), /"isError":true/);
          assert.match(said(scenes, "prompt"), /no rule allows prompts\/get/);
          assert.match(said(scenes, "read"), /static text resource/);
          assert.match(said(scenes, "resources"), /static-text/);
          assert.doesNotMatch(said(scenes, "resources"), /static-binary/);
        },
      );

  for (const [name, client] of [
    ["TypeScript 2.x", typescriptTwo],
    ["Python 2.x", pythonTwo],
  ] as const)
    test(
      `${name} without a session sees the tools it may use, and reads refusals as results`,
      options,
      async () => {
        const strict = await room(modern.port, little);
        const scenes = await client(strict.url("mcp"));
        assert.deepEqual(names(scenes), ["add", "echo"]);
        assert.match(said(scenes, "add"), /3/);
        assert.match(said(scenes, "confirm"), /no rule allows tools\/call confirm/);
        assert.match(said(scenes, "resources"), /orders/);
        assert.doesNotMatch(said(scenes, "resources"), /secret/);
        assert.match(said(scenes, "prompt"), /no rule allows prompts\/get review/);
      },
    );
});

test(
  "langchain-mcp-adapters gets the tools an agent may use, and the refusal of another as its result",
  options,
  async () => {
    const adapters = await pythonPackages(["langchain-mcp-adapters==0.3.2", "mcp==1.30.0"]);
    const scenes = (url: string): Promise<Scenes> => byPython(adapters, "langchain_scenes.py", url);
    const allowing = await room(server.port, everything, streams);
    const direct = await scenes(`http://127.0.0.1:${server.port}/mcp`);
    assert.deepEqual(await scenes(allowing.url("mcp")), direct);
    const strict = await room(server.port, little, streams);
    const seen = await scenes(strict.url("mcp"));
    assert.deepEqual(seen["tools"], ["echo", "test_sampling", "test_simple_text"]);
    assert.match(
      said(seen, "called"),
      /"isError": ?true,"text":"no rule allows tools\/call test_error_handling/,
    );
  },
);
