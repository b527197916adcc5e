// Compares what the server said directly with what came through the proxy. Pure.
import type { Played, Said } from "./play.ts";

export type Mode = "valid" | "hostile" | "denied";

export type Verdict =
  | { readonly same: true }
  /** The proxy refused something in its place, as it may; what follows cannot be compared. */
  | { readonly same: "until refused"; readonly refusal: string }
  | { readonly same: false; readonly why: string };

/** What an allow-all policy still refuses: see README, "Limits". */
const mayRefuse: ReadonlySet<string> = new Set(["Denied", "NotSupported", "TooLarge"]);
/** How a session may end where the bytes are not the protocol. */
const mayEnd: ReadonlySet<string> = new Set(["MalformedRequest", "UpstreamUnreachable"]);
/** The server itself calls it no protocol. */
const violates = /^E (ERROR|FATAL) 08P01 /;
/** Sent while the proxy cannot know whether the COPY had failed before: nothing a client does that waits for its answers. */
const copyConfusion = /a Sync came amid COPY data|came where COPY data was expected/;
/** A defect of the server, met by a Query of nothing behind messages without Sync; what the proxy asks in between may meet it first. */
const serversOwn = /^E ERROR XX000 StartTransactionCommand: unexpected state/;
/** In the direct database a denied table does not exist. */
const deniedDirectly = /^E ERROR (42P01|25P02) /;

export function judge(direct: Played, proxied: Played, mode: Mode): Verdict {
  const verdict = compared(direct, proxied, mode);
  return verdict.same === false && direct.said.some(({ text }) => serversOwn.test(text))
    ? { same: "until refused", refusal: "internal error of the server" }
    : verdict;
}

function compared(direct: Played, proxied: Played, mode: Mode): Verdict {
  for (let index = 0; ; index += 1) {
    const [expected, actual] = [direct.said[index], proxied.said[index]];
    if (actual === undefined) return atEnd(direct, proxied, expected, mode);
    if (expected !== undefined && isSame(expected, actual, mode)) continue;
    if (mode === "denied" && isAboutUnnamed(expected, proxied.said.slice(0, index)))
      return { same: "until refused", refusal: "Denied" };
    // What the server waited for in vain, the proxy refused at its header.
    const late = proxied.said.slice(index).find(({ refusal }) => mayRefuse.has(refusal ?? ""));
    if (mode === "hostile" && expected === undefined && direct.closed && late !== undefined)
      return { same: "until refused", refusal: late.refusal ?? "" };
    // The server closed without sending what no Sync had asked for; the proxy had asked it, to see where COPY begins.
    const onlyUnsynced = proxied.said.slice(index).every(({ kind }) => kind !== "Z");
    if (
      mode === "hostile" &&
      expected === undefined &&
      direct.closed &&
      proxied.closed &&
      onlyUnsynced
    )
      return { same: "until refused", refusal: "MalformedRequest" };
    if (actual.refusal === undefined) return different(index, expected, actual, proxied);
    return refused(actual, index, direct, proxied, mode);
  }
}

function isSame(expected: Said, actual: Said, mode: Mode): boolean {
  if (expected.text === actual.text) return true;
  return mode === "denied" && actual.refusal === "Denied" && deniedDirectly.test(expected.text);
}

/** A Query takes the unnamed statement away; one that is refused does not reach the server. */
function isAboutUnnamed(expected: Said | undefined, before: readonly Said[]): boolean {
  const wasDenied = before.some(({ refusal }) => refusal === "Denied");
  return wasDenied && expected?.text === "E ERROR of a name";
}

function atEnd(direct: Played, proxied: Played, expected: Said | undefined, mode: Mode): Verdict {
  // Half a header and no more: the server looks at the type alone. And amid a large row there is no room for an error.
  const atType = violates.test(expected?.text ?? "");
  // What no Sync follows is not even asked when the client half-closes: it would not commit.
  const rest = direct.said.slice(proxied.said.length);
  const isUnsynced = direct.closed && rest.every(({ kind }) => kind !== "Z");
  if (mode === "hostile" && proxied.closed && (atType || proxied.inMessage || isUnsynced))
    return { same: "until refused", refusal: "MalformedRequest" };
  if (expected !== undefined)
    return { same: false, why: `the proxied run ended before ${expected.text}` };
  if (direct.closed !== proxied.closed)
    return {
      same: false,
      why: `closed directly: ${direct.closed}, through the proxy: ${proxied.closed}`,
    };
  return { same: true };
}

function refused(
  actual: Said,
  index: number,
  direct: Played,
  proxied: Played,
  mode: Mode,
): Verdict {
  const refusal = actual.refusal ?? "";
  if (actual.fatal === true) {
    const isLast = proxied.said.length === index + 1 && proxied.closed;
    const mayHere =
      mode === "hostile" ||
      violates.test(direct.said[index]?.text ?? "") ||
      copyConfusion.test(actual.text);
    if (mayHere && mayEnd.has(refusal) && isLast) return { same: "until refused", refusal };
    return { same: false, why: `a FATAL through the proxy: ${actual.text}` };
  }
  if (!mayRefuse.has(refusal)) return { same: false, why: `an unexpected refusal: ${actual.text}` };
  if (mode === "hostile") return { same: "until refused", refusal };
  // Whatever was refused: as many Syncs and Queries were answered, except where a COPY swallowed them.
  return proxied.closed && !direct.closed
    ? { same: false, why: `the session was closed after ${actual.text}` }
    : { same: "until refused", refusal };
}

function different(
  index: number,
  expected: Said | undefined,
  actual: Said,
  proxied: Played,
): Verdict {
  const before = proxied.said.slice(Math.max(0, index - 3), index).map(({ text }) => text);
  return {
    same: false,
    why: `answer ${index}, behind ${JSON.stringify(before)}\n  directly: ${expected?.text.slice(0, 300) ?? "(nothing)"}\n  proxied:  ${actual.text.slice(0, 300)}`,
  };
}
