// curl and git, unmodified: scene by scene the same through the proxy as straight from the server, under every way in.
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { skipped } from "../toolchains.ts";
import { everyWay } from "./compare.ts";
import { probing, sameEveryWay, trustReaches } from "./compare.ts";
import { reasonWithoutNamespaces } from "./container.ts";
import { apiHost, gitHost } from "./manifests.ts";
import { openHttpRoom, type HttpRoom } from "./room.ts";

const run = promisify(execFile);
const options = skipped(reasonWithoutPrograms() ?? reasonWithoutNamespaces());
let room: HttpRoom;

before(async () => {
  if (options.skip !== false) return;
  room = await openHttpRoom();
  for (const name of [...everyWay(room).map((way) => way.name), "probe"]) {
    const repository = join(room.directory, "repositories", `${name}.git`);
    await run("git", ["init", "-q", "--bare", "-b", "main", repository]);
    await run("git", ["-C", repository, "config", "http.receivepack", "true"]);
  }
});

after(() => room?.close());

function reasonWithoutPrograms(): string | undefined {
  try {
    execFileSync("curl", ["--version"], { stdio: "ignore" });
    execFileSync("git", ["--version"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "curl and git over HTTP need curl and git";
  }
}

const script = (name: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  join(import.meta.dirname, name),
  ...args,
];

for (const [client, version] of [
  ["curl", "--http1.1"],
  ["curl2", "--http2"],
] as const) {
  test(
    `${client}: every scene ends as it does straight from the server, under every way in`,
    options,
    () =>
      sameEveryWay(room, client, {
        command: (way) => script("curl_scenes.mjs", "", way.apiUrl, way.token),
        env: { CURL_HTTP: version },
      }),
  );
}

test(
  "git: clones, fetches and pushes end as they do straight from the server, under every way in",
  options,
  () =>
    sameEveryWay(room, "git", {
      command: (way) => script("git_scenes.mjs", `${way.name}.git`, way.gitUrl),
    }),
);

test("trust reaches curl and git by the variables listed, and by no other", options, () =>
  trustReaches(
    room,
    ["curl", "curl2", "git"],
    ["CURL_CA_BUNDLE", "SSL_CERT_FILE", "GIT_SSL_CAINFO"],
    probing(room, [
      "sh",
      "-c",
      'tell() { "$@" >/dev/null 2>&1 && printf true || printf "\\"exit $?\\""; }; printf "{\\"curl\\":%s,\\"curl2\\":%s,\\"git\\":%s}" "$(tell curl --http1.1 "$1/json")" "$(tell curl --http2 "$1/json")" "$(tell git ls-remote "$2/git/probe.git")"',
      "sh",
      `https://${apiHost}`,
      `https://${gitHost}`,
    ]),
  ),
);
