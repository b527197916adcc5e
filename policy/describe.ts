// The sentences of the policy core: what an access is called, and why an operation was refused or held.
import type { Bundle } from "./bundle.ts";
import type { Access, McpAccess, Relative, RelationAccess } from "./operation.ts";

/** Longest name repeated in a message: agents choose names, people read messages. */
const maxNameLength = 160;
/** Accesses named in one refusal; the others are counted. */
const maxNamedAccesses = 3;

/** Of ASCII, which most names are, all that prints. */
const plain = /^[\x20-\x7e]*$/;
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** A name that an agent chose, safe to print: no controls, bounded. */
export function printable(name: string): string {
  const clean = plain.test(name) ? name : name.replaceAll(unprintable, "\u{fffd}");
  return clean.length > maxNameLength ? `${clean.slice(0, maxNameLength)}…` : clean;
}

/** `select on public.orders`, `POST api.example.com/v1/orders`, `tool search`. */
export function describeAccess(access: Access): string {
  switch (access.kind) {
    case "relation":
      return `${access.statement} on ${printable(access.relation)}${consequence(access)}`;
    case "function":
      return `${access.statement} with function ${printable(access.function)}`;
    case "statement":
      return access.statement;
    case "http":
      return `${printable(access.method)} ${printable(access.host)}${printable(access.path)}${access.upgrade === undefined ? "" : ` with an upgrade to ${access.upgrade}`}`;
    case "llm":
      return access.model === undefined
        ? printable(access.operation)
        : `${printable(access.operation)} with model ${printable(access.model)}`;
    case "tool":
      return `tool ${printable(access.tool)}`;
    case "mcp":
      return describeMcp(access);
    case "passthrough":
      return `TLS to ${printable(access.host)}:${access.port}`;
  }
}

function consequence({ cascades, leadsTo }: RelationAccess): string {
  if (cascades === true) return " and whatever CASCADE reaches";
  return leadsTo === undefined ? "" : ", whose rows would be reached by another name";
}

/** What a rule about the relative has to do with the access just described. */
export function describeRelative({ relation, as }: Relative): string {
  const name = printable(relation);
  switch (as) {
    case "whole":
      return `, a part of ${name}`;
    case "part":
      return `, of which ${name} is a part`;
    case "read":
      return `, which reads ${name}`;
    case "computed":
      return `, some of which is computed from ${name}`;
    case "together":
      return `, in one text with ${name} and a change of what names mean`;
  }
}

/** `tools/call search`, `the server's request sampling/createMessage`. */
export function describeMcp({ method, fromServer, tool, resource, prompt }: McpAccess): string {
  const named = tool ?? resource ?? prompt;
  const what = named === undefined ? method : `${method} ${named}`;
  return fromServer === true ? `the server's request ${printable(what)}` : printable(what);
}

export function describeAccesses(accesses: readonly Access[]): string {
  const names = [...new Set(accesses.map(describeAccess))];
  const named = names.slice(0, maxNamedAccesses).join(", ");
  const others = names.length - maxNamedAccesses;
  return others > 0 ? `${named} and ${others} more` : named;
}

export function connectionName(bundle: Bundle): string {
  return `${bundle.connection.namespace}/${bundle.connection.name}`;
}

export function subjectName(bundle: Bundle): string {
  return `${bundle.subject.namespace}/${bundle.subject.serviceAccount}`;
}

export function unrecognisedMessage(why: string): string {
  return `refused because it could not be fully understood: ${printable(why)}`;
}
