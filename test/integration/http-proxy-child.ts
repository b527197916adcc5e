// The HTTP room in a process of its own, so that what an attack costs it can be measured; told what to do by messages of its parent.
import { flushCompileCache } from "node:module";

import type { BundleRule, RecordingDetail } from "../../policy/bundle.ts";
import type { Protocol } from "../../policy/operation.ts";
import { collectAsServing } from "../../proxy/engine.ts";
import { startRoom } from "./http-proxy-fixture.ts";

const [port = "0", protocol = "http", rules = "[]", detail = "Statements"] = process.argv.slice(2);
const setups = [
  {
    upstream: { port: Number(port) },
    protocol: protocol as Protocol,
    detail: detail as RecordingDetail,
    rules: JSON.parse(rules) as Partial<BundleRule>[],
  },
] as const;
// A fifth of what production has; the same happens sooner.
const room = await startRoom({ after: () => undefined }, setups, { bodyPatienceMs: 2_000 });
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
process.send?.({ port: room.port });
