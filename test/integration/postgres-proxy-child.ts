// The room in a process of its own, so that what an attack costs it can be measured; told what to do by messages of its parent.
import { flushCompileCache } from "node:module";
import { boundStreams, collectAsServing, compileWasmOnce } from "../../proxy/engine.ts";
import { startHarness } from "./postgres-proxy-harness.ts";

const [port = "0", password = "", startupDeadlineMs] = process.argv.slice(2);
const server = {
  host: "127.0.0.1",
  port: Number(port),
  superuser: "postgres",
  password,
  superuserUrl: "",
  data: "",
  major: 18,
  log: () => "",
  stop: async () => undefined,
};
boundStreams();
compileWasmOnce();
// A third of what production has; the same happens sooner.
const harness = await startHarness(server, {
  memoryPatienceMs: 3_000,
  ...(startupDeadlineMs === undefined ? {} : { startupDeadlineMs: Number(startupDeadlineMs) }),
});
collectAsServing();
/** Why sessions ended and operations failed, each once counted; the events themselves would be what is measured. */
const causes = new Map<string, number>();
const gather = (): void => {
  for (const { type, body } of harness.events.splice(0)) {
    const cause = `${type} ${body.error?.code ?? body.outcome?.status ?? ""}`.trim();
    causes.set(cause, (causes.get(cause) ?? 0) + 1);
  }
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
process.send?.({ port: harness.port });
