// Node's HTTP clients and SDKs, unmodified: scene by scene the same through the proxy as straight from the server, under every way in.
import { join } from "node:path";
import { after, before, test } from "node:test";
import { npmPackages } from "../cache.ts";
import { skipped } from "../toolchains.ts";
import { nodeRequirements, type ClientKey } from "./clients.ts";
import { probing, sameEveryWay, trustReaches } from "./compare.ts";
import { reasonWithoutNamespaces } from "./container.ts";
import { apiHost } from "./manifests.ts";
import { openHttpRoom, type HttpRoom } from "./room.ts";

const options = skipped(reasonWithoutNamespaces());
let room: HttpRoom;
let packages: string;

before(async () => {
  if (options.skip !== false) return;
  packages = await npmPackages(nodeRequirements);
  room = await openHttpRoom();
});

after(() => room?.close());

const command = (script: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  join(import.meta.dirname, script),
  packages,
  ...args,
];

const scripts = {
  fetch: "fetch_scenes.mjs",
  https: "https_scenes.mjs",
  axios: "axios_scenes.mjs",
  openaiNode: "openai_scenes.mjs",
  anthropicNode: "anthropic_scenes.mjs",
} as const satisfies Partial<Record<ClientKey, string>>;
const clients = ["fetch", "https", "axios", "openaiNode", "anthropicNode"] as const;

for (const client of clients) {
  test(
    `${client}: every scene ends as it does straight from the server, under every way in`,
    options,
    () =>
      sameEveryWay(room, client, {
        command: (way) => command(scripts[client], way.apiUrl, way.token),
      }),
  );
}

test("trust reaches every client of Node by the variables listed, and by no other", options, () =>
  trustReaches(
    room,
    clients,
    ["NODE_EXTRA_CA_CERTS"],
    probing(room, command("trust_probe.mjs", `https://${apiHost}`)),
  ),
);
