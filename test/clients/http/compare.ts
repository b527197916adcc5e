// Plays one client every way and compares: what differs from direct has to be what is listed, scene by scene.
import assert from "node:assert/strict";
import { httpClients, type ClientKey, type TrustVariable } from "./clients.ts";
import { runClient } from "./container.ts";
import { expectedToDiffer } from "./differences.ts";
import { modes, type HttpRoom, type Way } from "./room.ts";

export interface Play {
  command(way: Way): readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

type Scenes = Readonly<Record<string, unknown>>;

export async function playOnce(room: HttpRoom, way: Way, play: Play): Promise<Scenes> {
  const printed: unknown = JSON.parse(await runClient(room, way, play.command(way), play.env));
  assert.ok(typeof printed === "object" && printed !== null);
  return { ...printed };
}

export async function sameEveryWay(room: HttpRoom, client: ClientKey, play: Play): Promise<void> {
  const [direct = {}, ...proxied] = await Promise.all(
    [room.direct, ...modes.map((mode) => room.ways[mode])].map((way) => playOnce(room, way, play)),
  );
  assert.equal(Object.keys(direct).length, httpClients[client].scenes, "every scene was played");
  for (const [index, mode] of modes.entries()) {
    const seen = proxied[index] ?? {};
    const unlike = expectedToDiffer(client, mode);
    for (const [scene, expected] of Object.entries(direct)) {
      if (!unlike.includes(scene)) assert.deepEqual(seen[scene], expected, `${mode}: ${scene}`);
      else
        assert.notDeepEqual(
          seen[scene],
          expected,
          `${mode}: ${scene} differs no longer; unlist it`,
        );
    }
  }
}

/** Which of the clients that a probe runs reach the server: `true`, or the kind of error. */
export type Probe = Readonly<Partial<Record<ClientKey, unknown>>>;

const variables: readonly TrustVariable[] = [
  "SSL_CERT_FILE",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "GIT_SSL_CAINFO",
  "NODE_EXTRA_CA_CERTS",
  "JAVA_TOOL_OPTIONS",
];

/**
 * Runs a probe in the environment of `hosts` with one variable of trust at a time, with all others together, and with none.
 *
 * @param alone what is tried alone; the rest is tried together and must carry nothing
 */
export async function trustReaches(
  room: HttpRoom,
  clients: readonly ClientKey[],
  alone: readonly TrustVariable[],
  probe: (without: Readonly<Record<string, undefined>>) => Promise<Probe>,
): Promise<void> {
  const trust = Object.keys(room.ways.hosts.env).filter((name) =>
    String(room.ways.hosts.env[name]).includes(room.trustDirectory),
  );
  for (const variable of variables) assert.ok(trust.includes(variable), `${variable} is injected`);
  const with_ = async (kept: readonly string[]): Promise<Probe> =>
    probe(
      Object.fromEntries(
        trust.filter((name) => !kept.includes(name)).map((name) => [name, undefined]),
      ),
    );
  const rest = trust.filter((name) => !alone.some((one) => one === name));
  const [none, others, ...singly] = await Promise.all([
    with_([]),
    with_(rest),
    ...alone.map((one) => with_([one])),
  ]);
  for (const client of clients) {
    assert.notEqual(none?.[client], true, `${client} trusts the pod's CA without being told to`);
    assert.notEqual(others?.[client], true, `${client} trusts by one of ${rest.join(", ")}`);
    assert.deepEqual(
      alone.filter((_, index) => singly[index]?.[client] === true).toSorted(),
      [...httpClients[client].trust].toSorted(),
      `what carries trust to ${client}`,
    );
  }
}
