// Python's HTTP clients and SDKs, unmodified: scene by scene the same through the proxy as straight from the server, under every way in.
import { join } from "node:path";
import { after, before, test } from "node:test";
import { printedByPython, pythonPackages, reasonWithoutPython } from "../python.ts";
import { skipped } from "../toolchains.ts";
import { pythonRequirements, type ClientKey } from "./clients.ts";
import { assertSame, everyWay, scenesIn, trustReaches, type Scenes, type Seen } from "./compare.ts";
import { containerOf, reasonWithoutNamespaces, type Container } from "./container.ts";
import { openHttpRoom, type HttpRoom, type Way } from "./room.ts";

const options = skipped(reasonWithoutPython() ?? reasonWithoutNamespaces());
let room: HttpRoom | undefined;
let packages: string;

before(async () => {
  if (options.skip !== false) return;
  packages = await pythonPackages(pythonRequirements);
  room = await openHttpRoom();
});

after(() => room?.close());

function opened(): HttpRoom {
  if (room === undefined) throw new Error("the room is not open");
  return room;
}

async function played(
  name: string,
  { env, hostsFile }: Container,
  ...args: readonly string[]
): Promise<Scenes> {
  const script = join(import.meta.dirname, name);
  const cwd = opened().directory;
  return scenesIn(await printedByPython(packages, { script, args, cwd, env, hostsFile }));
}

async function playedEveryWay(
  name: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Seen> {
  const seen = everyWay(opened()).map(async (way: Way): Promise<[string, Scenes]> => [
    way.name,
    await played(name, await containerOf(opened(), way, env), way.apiUrl, way.token),
  ]);
  return Object.fromEntries(await Promise.all(seen));
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
    async () => assertSame(client, await playedEveryWay(name, env)),
  );
}

test(
  "the SDKs of OpenAI and Anthropic: every scene ends as it does straight from the server, under every way in",
  options,
  async () => {
    const seen = Object.entries(await playedEveryWay("sdk_scenes.py"));
    for (const client of ["openaiPython", "anthropicPython"] as const)
      assertSame(
        client,
        Object.fromEntries(seen.map(([way, both]) => [way, scenesIn(both[client])])),
      );
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
    return trustReaches(opened(), clients, alone, async (containers) =>
      Object.fromEntries(
        await Promise.all(
          containers.map(async (one): Promise<[string, Scenes]> => [
            one.name,
            await played("trust_probe.py", one),
          ]),
        ),
      ),
    );
  },
);
