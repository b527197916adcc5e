// The HTTP room in a process of its own, so that what an attack costs it can be measured; told what to do by messages of its parent.
import { flushCompileCache } from "node:module";

import type { BundleRule, RecordingDetail } from "../../policy/bundle.ts";
import type { Protocol } from "../../policy/operation.ts";
import { boundStreams, collectAsServing } from "../../proxy/engine.ts";
import { startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";
import { h2Name, startH2Room } from "./http2-fixture.ts";

const [port = "0", protocol = "http", rules = "[]", detail = "Statements", version = "http/1.1"] =
  process.argv.slice(2);
const setups = [
  {
    upstream: { port: Number(port) },
    protocol: protocol as Protocol,
    detail: detail as RecordingDetail,
    rules: JSON.parse(rules) as Partial<BundleRule>[],
  },
] as const;
boundStreams();
// A fifth of what production has; the same happens sooner.
const options = { bodyPatienceMs: 2_000 };
const t = { after: () => undefined };
/** Over TLS where HTTP/2 is asked for, which nothing speaks without. */
const room: TestRoom & { readonly ca?: string } = await (version === "h2"
  ? startH2Room(t, setups, [h2Name], options)
  : startRoom(t, setups, options));
collectAsServing();
/** How operations ended and why requests were refused, each once counted; the events themselves would be what is measured. */
const causes = new Map<string, number>();
const count = (cause: string): void => {
  causes.set(cause, (causes.get(cause) ?? 0) + 1);
};
const gather = (): void => {
  for (const { type, body } of room.gate.events.splice(0))
    count(`${type} ${body.outcome?.status ?? ""} ${body.outcome?.error ?? ""}`.trim());
  for (const { code } of room.refusals.splice(0)) count(`refused ${code}`);
  room.gate.requests.length = 0;
};
setInterval(gather, 20);
process.on("message", (message) => {
  if (message === "causes") {
    gather();
    process.send?.(Object.fromEntries(causes));
  }
});
process.on("disconnect", () => process.exit());
// It ends by a signal, which leaves the cache unwritten.
flushCompileCache();
process.send?.({ port: room.port, ca: room.ca });
