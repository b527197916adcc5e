// What an HTTP client sees otherwise than straight from the server even where every rule allows it, and why. The suite fails where a scene
// differs that is not listed here, and where one listed no longer does; docs/http-clients.md prints the list.
import type { ClientKey } from "./clients.ts";
import { modes, type Mode } from "./room.ts";

export interface HttpDifference {
  readonly what: string;
  readonly why: string;
  /** Client, scene and modes. */
  readonly where: Readonly<Partial<Record<ClientKey, Readonly<Record<string, readonly Mode[]>>>>>;
}

const everywhere = modes;

export const httpDifferences: readonly HttpDifference[] = [
  {
    what: "An answer that breaks off is an error of another class or code (httpx `ReadError`, Node `ECONNRESET`, curl 56)",
    why: "On a plain connection to the proxy it ends with a reset, where the server's TLS ended without its end mark: never as a success cut short",
    where: {
      httpx: { cut: ["endpoints"] },
      httpx2: { cut: ["endpoints"] },
      fetch: { cut: ["endpoints"] },
      axios: { cut: ["endpoints"] },
      curl: { cut: ["endpoints"] },
      curl2: { cut: ["endpoints"] },
    },
  },
  {
    what: "`Expect: 100-continue` is answered by the proxy: the body is asked for before the server could refuse it",
    why: "A decision may need the body, and it is made before the server hears of the request",
    where: {
      https: { "refused-early": everywhere },
      curl: { "refused-early": everywhere },
      curl2: { "refused-early": everywhere },
    },
  },
  {
    what: "aiohttp keeps no cookies under `endpoints`",
    why: "Its jar takes none from an address in digits, unless the program says `unsafe=True`",
    where: { aiohttp: { cookies: ["endpoints"], "large-request-header": ["endpoints"] } },
  },
  {
    what: "Java's cookies of version 1 name the proxy's address in `$Domain` under `endpoints`",
    why: "It is the address that the program dials",
    where: { java: { cookies: ["endpoints"] } },
  },
  {
    what: "fetch offers no `br` under `endpoints`",
    why: "It does so over TLS alone",
    where: { fetch: { seen: ["endpoints"], "large-request-header": ["endpoints"] } },
  },
];

/** The scenes of a client that may differ, and must, under a mode. */
export function expectedToDiffer(client: ClientKey, mode: Mode): readonly string[] {
  return httpDifferences.flatMap(({ where }) =>
    Object.entries(where[client] ?? {})
      .filter(([, among]) => among.includes(mode))
      .map(([scene]) => scene),
  );
}
