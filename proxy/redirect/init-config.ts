// What has to be known of a pod before its rules can be loaded: the proxy's user, and the ports that may be reached from outside. Injection writes what is
// read here, for chaperone-init as variables, for a node's plugin as an annotation.
import { rulesAnnotation } from "../../contract/redirect.ts";
import type { InboundPort, RulesOptions } from "./rules.ts";

const maxUid = 0xff_ff_ff_fe;

/** @throws Error naming the variable that is missing or malformed */
export function readInitConfig(env: NodeJS.ProcessEnv): RulesOptions {
  return {
    proxyUid: readUid(Number(env.CHAPERONE_PROXY_UID ?? ""), "CHAPERONE_PROXY_UID"),
    inbound: readPorts(env.CHAPERONE_INBOUND ?? "", "CHAPERONE_INBOUND"),
  };
}

/** @param text the annotation's value @throws Error saying that it is not what injection writes */
export function readRulesAsked(text: string): RulesOptions {
  const asked: unknown = jsonOf(text);
  const { proxyUid, inbound } =
    typeof asked === "object" && asked !== null
      ? { proxyUid: undefined, inbound: undefined, ...asked }
      : {};
  if (typeof inbound !== "string")
    throw new Error(`the annotation ${rulesAnnotation} is not what injection writes`);
  return {
    proxyUid: readUid(proxyUid, `proxyUid of the annotation ${rulesAnnotation}`),
    inbound: readPorts(inbound, `inbound of the annotation ${rulesAnnotation}`),
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readUid(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > maxUid)
    throw new Error(`${what} is not the number of a user other than root`);
  return value;
}

function readPorts(listed: string, what: string): readonly InboundPort[] {
  return listed === "" ? [] : listed.split(",").map((one) => readPort(one, what));
}

function readPort(text: string, what: string): InboundPort {
  const [protocol, number, ...rest] = text.split(":");
  const port = Number(number);
  if (
    (protocol !== "tcp" && protocol !== "udp") ||
    rest.length > 0 ||
    !/^\d{1,5}$/.test(number ?? "") ||
    port < 1 ||
    port > 65_535
  )
    throw new Error(`${what} is a list like tcp:8080,udp:53`);
  return { protocol, port };
}
