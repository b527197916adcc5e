// What the Gemini API keeps for later requests: files, and contents that are cached. Uploads of Google AI are two requests: one that says what will
// come, answered with the address for the other, which has the bytes.
import { addAttachment, nameOf, NotUnderstood } from "../reading.ts";
import type { Reading } from "../reading.ts";
import type { Route } from "../provider.ts";
import { readContents } from "./content.ts";
import { readTool } from "./generate.ts";
import { messageOf, repeatedOf } from "./proto.ts";

interface Known {
  readonly method: string;
  /** Below the version. */
  readonly path: RegExp;
  readonly route: Route;
}

const project = String.raw`(?:\/projects\/[^/]+\/locations\/[^/]+)?`;
const cache = new RegExp(`^${project}\\/cachedContents\\/[^/:]+$`);
const caches = new RegExp(`^${project}\\/cachedContents$`);

const bodiless = (operation: string): Route => ({ operation, body: "none", read: () => {} });

const routes: readonly Known[] = [
  { method: "GET", path: /^\/files(?:\/[^/:]+(?::download)?)?$/, route: bodiless("files") },
  { method: "DELETE", path: /^\/files\/[^/:]+$/, route: bodiless("files") },
  {
    method: "POST",
    path: /^\/upload\/files$/,
    route: { operation: "files", body: "any", read: readUpload },
  },
  { method: "GET", path: caches, route: bodiless("caches") },
  { method: "GET", path: cache, route: bodiless("caches") },
  { method: "DELETE", path: cache, route: bodiless("caches") },
  {
    method: "POST",
    path: caches,
    route: { operation: "caches", body: "json", read: readCache },
  },
  {
    method: "PATCH",
    path: cache,
    route: { operation: "caches", body: "json", read: readLifetime },
  },
];

/** Operations with a name of their own that are refused with it. */
const unread: readonly (readonly [path: RegExp, sentence: string])[] = [
  [
    /\/interactions(?:\/|$)/,
    "the Interactions API keeps conversations and agents that no rule sees: ask by generateContent",
  ],
  [
    /:batchGenerateContent$|:asyncBatchEmbedContent$|\/batches(?:\/|$)/,
    "batches of the Gemini API are not read: send their requests one by one",
  ],
  [
    /:predict(?:LongRunning)?$|:generateImages$|:generateVideos$/,
    "predictions (Imagen, Veo) are not read: ask a model for pictures by generateContent",
  ],
  [/BidiGenerateContent/, "live sessions of the Gemini API are not read: ask by generateContent"],
];

/** @param local path below the version; of an upload, that behind `/upload` */
export function storedRoute(method: string, local: string): Route | undefined {
  const found = routes.find((known) => known.method === method && known.path.test(local));
  if (found !== undefined) return found.route;
  const named = unread.find(([path]) => path.test(local));
  if (named !== undefined) throw new NotUnderstood(named[1]);
  return undefined;
}

/** What is in a file nobody looks into. */
function readUpload(reading: Reading): void {
  addAttachment(reading, "file", "", "inline");
  reading.promptsUnreadable = true;
}

function readCache(reading: Reading, value: unknown): void {
  const body = messageOf(value, "the body");
  const { model } = body;
  if (typeof model !== "string") throw new NotUnderstood("model is missing");
  reading.model = nameOf(/(?:^|\/)models\/([^/]+)$/.exec(model)?.[1] ?? model, "the model");
  readContents(reading, body["systemInstruction"], "systemInstruction", "system");
  readContents(reading, body["contents"], "contents", "user");
  for (const tool of repeatedOf(body["tools"], "tools"))
    readTool(reading, messageOf(tool, "a tool"));
}

const lifetimeNames: ReadonlySet<string> = new Set(["ttl", "expireTime", "name"]);

/** How long it lives is all that can be changed. */
function readLifetime(_reading: Reading, value: unknown): void {
  for (const name of Object.keys(messageOf(value, "the body")))
    if (!lifetimeNames.has(name))
      throw new NotUnderstood(
        `the body has ${JSON.stringify(name.slice(0, 64))}, which a cache keeps`,
      );
}
