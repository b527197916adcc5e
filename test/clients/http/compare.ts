// Plays one client every way and compares: what differs from direct has to be what is listed, scene by scene.
import assert from "node:assert/strict";
import { httpClients, type ClientKey, type TrustVariable } from "./clients.ts";
import { containerOf, runClient, type Container } from "./container.ts";
import { expectedToDiffer } from "./differences.ts";
import { modes, type HttpRoom, type Way } from "./room.ts";

export interface Play {
  command(way: Way): readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What a client saw, by scene. */
export type Scenes = Readonly<Record<string, unknown>>;

/** What each way's client saw, by the name of the way. */
export type Seen = Readonly<Record<string, Scenes>>;

export function everyWay(room: HttpRoom): readonly Way[] {
  return [room.direct, ...modes.map((mode) => room.ways[mode])];
}

export async function playEveryWay(room: HttpRoom, play: Play): Promise<Seen> {
  const played = everyWay(room).map(async (way): Promise<[string, Scenes]> => {
    const container = await containerOf(room, way, play.env);
    return [way.name, scenesIn(JSON.parse(await runClient(room, container, play.command(way))))];
  });
  return Object.fromEntries(await Promise.all(played));
}

/** What a client printed, as JSON. */
export function scenesIn(value: unknown): Scenes {
  assert.ok(typeof value === "object" && value !== null);
  return { ...value };
}

export async function sameEveryWay(room: HttpRoom, client: ClientKey, play: Play): Promise<void> {
  assertSame(client, await playEveryWay(room, play));
}

export function assertSame(client: ClientKey, seen: Seen): void {
  const direct = seen["direct"] ?? {};
  assert.equal(Object.keys(direct).length, httpClients[client].scenes, "every scene was played");
  for (const mode of modes) {
    const unlike = expectedToDiffer(client, mode);
    for (const [scene, expected] of Object.entries(direct)) {
      const found = seen[mode]?.[scene];
      if (!unlike.includes(scene)) assert.deepEqual(found, expected, `${mode}: ${scene}`);
      else assert.notDeepEqual(found, expected, `${mode}: ${scene} differs no longer; unlist it`);
    }
  }
}

/** Which of the clients that a probe runs reach the server: `true`, or the kind of error. */
export type Probe = Readonly<Partial<Record<ClientKey, unknown>>>;

const trustVariables: readonly TrustVariable[] = [
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
  probe: (containers: readonly Container[]) => Promise<Readonly<Record<string, Probe>>>,
): Promise<void> {
  const { env, ...way } = room.ways.hosts;
  const trust = Object.keys(env).filter((name) => env[name]?.includes(room.trustDirectory));
  for (const variable of trustVariables) assert.ok(trust.includes(variable), `${variable} is set`);
  const rest = trust.filter((name) => !alone.some((one) => one === name));
  const tries = new Map<string, readonly string[]>([
    ["none", []],
    ["rest", rest],
  ]);
  for (const one of alone) tries.set(one, [one]);
  const containers = [...tries].map(async ([name, kept]): Promise<Container> => {
    const left = Object.entries(env).filter(([one]) => kept.includes(one) || !trust.includes(one));
    return { ...(await containerOf(room, { ...way, env: Object.fromEntries(left) })), name };
  });
  const found = await probe(await Promise.all(containers));
  for (const client of clients) {
    assert.notEqual(found["none"]?.[client], true, `${client} trusts without being told to`);
    assert.notEqual(found["rest"]?.[client], true, `${client} trusts by one of ${rest.join(", ")}`);
    assert.deepEqual(
      alone.filter((one) => found[one]?.[client] === true).toSorted(),
      [...httpClients[client].trust].toSorted(),
      `what carries trust to ${client}`,
    );
  }
}

/** A probe that is a process for each container. */
export function probing(
  room: HttpRoom,
  command: readonly string[],
): (containers: readonly Container[]) => Promise<Record<string, Probe>> {
  return async (containers) =>
    Object.fromEntries(
      await Promise.all(
        containers.map(async (one): Promise<[string, Probe]> => [
          one.name,
          scenesIn(JSON.parse(await runClient(room, one, command))),
        ]),
      ),
    );
}
