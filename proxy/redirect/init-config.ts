// What chaperone-init is told: the proxy's user, and the ports of the pod that may be reached from outside. Injection writes what is read here.
import type { InboundPort, RulesOptions } from "./rules.ts";

const maxUid = 0xff_ff_ff_fe;

/** @throws Error naming the variable that is missing or malformed */
export function readInitConfig(env: NodeJS.ProcessEnv): RulesOptions {
  const uid = Number(env.CHAPERONE_PROXY_UID ?? "");
  if (!Number.isInteger(uid) || uid < 1 || uid > maxUid)
    throw new Error("CHAPERONE_PROXY_UID is not the number of a user other than root");
  const listed = env.CHAPERONE_INBOUND ?? "";
  return {
    proxyUid: uid,
    inbound: listed === "" ? [] : listed.split(",").map(readPort),
  };
}

function readPort(text: string): InboundPort {
  const [protocol, number, ...rest] = text.split(":");
  const port = Number(number);
  if (
    (protocol !== "tcp" && protocol !== "udp") ||
    rest.length > 0 ||
    !/^\d{1,5}$/.test(number ?? "") ||
    port < 1 ||
    port > 65_535
  )
    throw new Error("CHAPERONE_INBOUND is a list like tcp:8080,udp:53");
  return { protocol, port };
}
