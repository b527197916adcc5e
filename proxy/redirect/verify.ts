// chaperone-verify: tries to get past the proxy as the agent could, under a user of its own, before the agent starts. Ends with 1 when it gets anywhere.
import { readFileSync } from "node:fs";

import { parseResolvConf } from "../net/resolv-conf.ts";
import { attemptsFor, describe, type Surroundings } from "./attempts.ts";
import { tryOut } from "./attempt.ts";

const started = performance.now();
const attempts = attemptsFor(surroundings(process.env));
const outcomes = await Promise.all(
  attempts.map(async (attempt) => ({ attempt, outcome: await tryOut(attempt) })),
);
const open = outcomes.flatMap(({ attempt, outcome }) =>
  typeof outcome === "string" ? [] : [`${describe(attempt)}: ${outcome.open}`],
);
// Where nothing can be reached nothing is proven either: a proxy that is not there would look the same.
for (const kind of ["tcp-proof", "dns"] as const)
  if (!outcomes.some(({ attempt, outcome }) => attempt.kind === kind && outcome === "proven"))
    open.push(`${kind}: no attempt ended at the proxy`);
if (open.length === 0) {
  process.stdout.write(
    `${JSON.stringify({ event: "verified", attempts: attempts.length, durationMs: Math.round(performance.now() - started) })}\n`,
  );
} else {
  process.stderr.write(
    `${JSON.stringify({ event: "not-verified", message: `there are ways around the proxy, so the agent does not start${hint(process.env)}`, open })}\n`,
  );
  process.exitCode = 1;
}

/** Rules that an init container loads stand for as long as the pod; a node's plugin may not have been there yet. */
function hint(env: NodeJS.ProcessEnv): string {
  return env.CHAPERONE_RULES_BY === "node"
    ? ": its node did not load the rules when the pod was made; see that chaperone-node is ready there, and delete the pod, so that it is made anew"
    : "";
}

/** What injection and the kubelet say. */
function surroundings(env: NodeJS.ProcessEnv): Surroundings {
  const host = env.KUBERNETES_SERVICE_HOST;
  return {
    ...(host !== undefined && {
      apiServer: { address: host, port: Number(env.KUBERNETES_SERVICE_PORT ?? 443) },
    }),
    nodeAddresses: listed(env.CHAPERONE_NODE_ADDRESSES),
    podAddresses: listed(env.CHAPERONE_POD_ADDRESSES),
    nameServers: parseResolvConf(
      readFileSync(env.CHAPERONE_RESOLV_CONF ?? "/etc/resolv.conf", "utf8"),
    ).servers,
  };
}

function listed(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").filter((entry) => entry !== "");
}
