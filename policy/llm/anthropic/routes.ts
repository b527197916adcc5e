// Which operation of Anthropic's API a request is, and how its body is read.
import type { Reading } from "../reading.ts";
import type { Route, RoutedRequest } from "../provider.ts";
import { readBatch } from "./batch.ts";
import { readCount, readMessages } from "./messages.ts";

const chat: Route = { operation: "chat", body: "json", read: readMessages };
const count: Route = { operation: "count-tokens", body: "json", read: readCount };
const batch: Route = { operation: "batches", body: "json", read: readBatch };
const bodiless = (operation: string): Route => ({ operation, body: "none", read: () => {} });
const batches = bodiless("batches");
const files = bodiless("files");
/** What a file says, no rule sees. */
const upload: Route = {
  operation: "files",
  body: "any",
  read: (reading) => {
    reading.promptsUnreadable = true;
  },
};

interface Known {
  readonly methods: string;
  /** Below `/v1`, which stands in the endpoint's url or in the request. */
  readonly path: RegExp;
  readonly route: (match: RegExpExecArray) => Route;
}

/** Everything else is `other` and refused. */
const routes: readonly Known[] = [
  { methods: "POST", path: /^\/messages$/, route: () => chat },
  { methods: "POST", path: /^\/messages\/count_tokens$/, route: () => count },
  { methods: "POST", path: /^\/messages\/batches$/, route: () => batch },
  { methods: "GET", path: /^\/messages\/batches(?:\/[^/]+(?:\/results)?)?$/, route: () => batches },
  { methods: "POST", path: /^\/messages\/batches\/[^/]+\/cancel$/, route: () => batches },
  { methods: "DELETE", path: /^\/messages\/batches\/[^/]+$/, route: () => batches },
  { methods: "POST", path: /^\/files$/, route: () => upload },
  { methods: "GET", path: /^\/files(?:\/[^/]+(?:\/content)?)?$/, route: () => files },
  { methods: "DELETE", path: /^\/files\/[^/]+$/, route: () => files },
  { methods: "GET", path: /^\/models(?:\/([^/]+))?$/, route: ([, model]) => models(model) },
];

export function anthropicRoute({ http, path }: RoutedRequest): Route | undefined {
  const local = path.startsWith("/v1/") ? path.slice("/v1".length) : path;
  for (const { methods, path: known, route } of routes) {
    const match = methods === http.method ? known.exec(local) : null;
    if (match !== null) return route(match);
  }
  return undefined;
}

function models(model: string | undefined): Route {
  return {
    operation: "models",
    body: "none",
    read: (reading: Reading) => {
      reading.model = model ?? "";
    },
  };
}
