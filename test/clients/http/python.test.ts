// Python's HTTP clients and SDKs, unmodified: scene by scene the same through the proxy as straight from the server, under every way in.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import { skipped } from "../toolchains.ts";
import { pythonRequirements, type ClientKey } from "./clients.ts";
import {
  assertSame,
  everyWay,
  parsed,
  sameEveryWay,
  trustReaches,
  type Play,
  type Scenes,
} from "./compare.ts";
import { containerOf, output, reasonWithoutNamespaces, type Container } from "./container.ts";
import { openHttpRoom, type HttpRoom } from "./room.ts";

const options = skipped(reasonWithoutPython() ?? reasonWithoutNamespaces());
let room: HttpRoom | undefined;
let python: string;
let packages: string;

before(async () => {
  if (options.skip !== false) return;
  packages = await pythonPackages(pythonRequirements);
  // The interpreter itself, where a shim would look for it at every start.
  python = execFileSync("python3", ["-c", "import sys; print(sys.executable)"]).toString().trim();
  room = await openHttpRoom();
});

after(() => room?.close());

function script(name: string, env: Readonly<Record<string, string>> = {}): Play {
  return {
    command: (way) => [python, join(import.meta.dirname, name), way.apiUrl, way.token],
    env: { PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: "1", ...env },
  };
}

function opened(): HttpRoom {
  if (room === undefined) throw new Error("the room is not open");
  return room;
}

for (const [client, name, env] of [
  ["requests", "requests_scenes.py", {}],
  ["urllib3", "urllib3_scenes.py", {}],
  ["httpx", "httpx_scenes.py", {}],
  ["httpx2", "httpx_scenes.py", { HTTPX_HTTP2: "1" }],
  ["aiohttp", "aiohttp_scenes.py", {}],
] as const) {
  test(
    `${client}: every scene ends as it does straight from the server, under every way in`,
    options,
    () => sameEveryWay(opened(), client, script(name, env)),
  );
}

/** A script that plays once for each container, in children of its own. */
async function forked(
  name: string,
  containers: readonly Container[],
): Promise<Record<string, Scenes>> {
  const { env = {} } = script(name);
  const given = containers.map((one) => ({ ...one, env: { ...one.env, ...env } }));
  const command = [python, join(import.meta.dirname, name), JSON.stringify(given)];
  return parsed(await output(opened(), command, env));
}

test(
  "the SDKs of OpenAI and Anthropic: every scene ends as it does straight from the server, under every way in",
  options,
  async () => {
    const ways = everyWay(opened()).map((way) => containerOf(opened(), way));
    const seen = await forked("sdk_scenes.py", await Promise.all(ways));
    for (const client of ["openaiPython", "anthropicPython"] as const) {
      const scenes = Object.entries(seen).map(([way, { failed, ...both }]) => {
        assert.equal(failed, undefined, way);
        return [way, both[client] as Scenes]; // what sdk_scenes.py prints
      });
      assertSame(client, Object.fromEntries(scenes));
    }
  },
);

test(
  "trust reaches every client of Python by the variables listed, and by no other",
  options,
  () => {
    const clients: readonly ClientKey[] = [
      "requests",
      "urllib3",
      "httpx",
      "httpx2",
      "aiohttp",
      "openaiPython",
      "anthropicPython",
    ];
    const alone = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] as const;
    return trustReaches(opened(), clients, alone, (containers) =>
      forked("trust_probe.py", containers),
    );
  },
);
