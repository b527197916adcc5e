// Events and sessions as lines for people: aligned, bounded, and safe to show on a terminal.
import type { CarriedMark, EventBody, EventMark, StoredEvent } from "../../contract/event.ts";
import type { SessionSummary } from "./queries.ts";
import { cells, clip, escapeLine, pad, paint, type Style } from "./terminal.ts";

export interface LineOptions {
  readonly color?: boolean;
  /** Cells of a line; unbounded when absent. */
  readonly width?: number;
}

/** `10:00:00.123  allow  agents/orders-db  invoice-agent  SELECT id FROM orders …  1 row, 0.9 ms` */
export function eventLine(event: StoredEvent, { color = false, width }: LineOptions = {}): string {
  const { header, body } = event;
  const verdict = verdictOf(event);
  const subject =
    body.subject === undefined
      ? header.stream
      : `${body.subject.serviceAccount}${body.subject.chain === undefined ? "" : `:${body.subject.chain}`}`;
  const connection =
    body.connection === undefined ? "-" : `${body.connection.namespace}/${body.connection.name}`;
  const head = [
    header.time,
    pad(verdict, 15),
    pad(escapeLine(connection), 22),
    pad(escapeLine(subject), 24),
  ].join("  ");
  const detail = escapeLine(
    [summaryOf(event), resultOf(event)].filter((part) => part !== "").join("  | "),
  );
  const line = `${head}  ${detail}`.trimEnd();
  const shown = width === undefined ? line : clip(line, width);
  return shown.replace(verdict, () => paint(verdict, verdictStyle(verdict), color));
}

/** The one word that says what the event is. */
export function verdictOf({ header, body }: StoredEvent): string {
  if (header.type !== "operation") return header.type;
  if (body.outcome?.status === "pending") return "hold";
  return body.decision?.verdict === undefined ? "operation" : escapeLine(body.decision.verdict);
}

export function verdictStyle(verdict: string): Style | undefined {
  switch (verdict) {
    case "allow":
      return "green";
    case "deny":
    case "error":
    case "gap":
    case "quarantine":
      return "red";
    case "hold":
    case "intent":
    case "mark":
      return "yellow";
    default:
      return "dim";
  }
}

/** What was tried, or what happened. Not escaped. */
export function summaryOf({ header, body }: StoredEvent): string {
  if (header.type === "tool-pinned")
    return `${body.operation?.summary ?? "a tool"} is ${String(body.operation?.facts?.["digest"])}`;
  if (body.mark !== undefined) return markText(body.mark, body.operation?.summary);
  if (body.operation !== undefined) return body.operation.summary;
  if (body.gap !== undefined)
    return `events ${body.gap.from} to ${body.gap.to}: ${body.gap.reason}`;
  if (body.grant !== undefined) return grantText(body.grant);
  if (body.request !== undefined) return requestText(body.request);
  if (body.quarantine !== undefined)
    return `${body.quarantine.name} ${body.quarantine.state}: ${body.quarantine.reason}`;
  if (body.error !== undefined) return `${body.error.code}: ${body.error.message}`;
  return header.type === "operation" ? "(pruned)" : "";
}

/** `pii: read column public.customers.email (agents/invoice-agent) by SELECT email …`. Not escaped. */
function markText(mark: EventMark, operation: string | undefined): string {
  const by = operation === undefined ? "" : ` by ${operation}`;
  return `${mark.name}: ${readText(mark)}${by}`;
}

/** What was read that puts the mark, and who says that it does. */
function readText({ policy, rule, column, detector }: EventMark): string {
  const who = policy === undefined ? "marks of the Connection" : policy;
  if (column !== undefined) return `read column ${column} (${who})`;
  if (detector !== undefined) return `found ${detector} (${who})`;
  return rule === undefined
    ? `read anything (${who})`
    : `read what a rule marks (${who} rule ${rule})`;
}

/** `the pod's session carried pii since 10:00:00.123 (agents/orders-db): read column … by SELECT …`, for each. Not escaped. */
export function carriedText(marks: readonly CarriedMark[]): string {
  return marks
    .map(
      (mark) =>
        `the pod's session carried ${mark.name} since ${mark.since} (${mark.connection}): ${readText(mark)} by ${mark.operation}`,
    )
    .join("; ");
}

/** `g1 until 2026-11-20T10:05:00Z as chaperone_5f0c…`. */
function grantText({ id, expiresAt, reason, role }: NonNullable<EventBody["grant"]>): string {
  const why = reason === undefined ? "" : `: ${reason}`;
  return `${id} until ${expiresAt}${role === undefined ? "" : ` as ${role}`}${why}`;
}

/** `ar-1 Approved by jo: fine`. Not escaped. */
export function requestText({
  name,
  verdict,
  by,
  reason,
}: NonNullable<StoredEvent["body"]["request"]>): string {
  return [name, verdict, by === undefined ? undefined : `by ${by}`, reason]
    .filter((part) => part !== undefined)
    .join(" ");
}

/** What came of it. Not escaped. */
export function resultOf({ body }: StoredEvent): string {
  const { decision, outcome, request } = body;
  const refused = decision !== undefined && decision.verdict !== "allow";
  return [
    refused
      ? `${decision.reason}${decision.rule === "" ? "" : ` (${decision.policy} ${decision.rule})`}`
      : "",
    outcomeText(outcome),
    request === undefined || body.operation === undefined ? "" : requestText(request),
    body.marks === undefined ? "" : carriedText(body.marks),
  ]
    .filter((part) => part !== "")
    .join(", ");
}

function outcomeText(outcome: StoredEvent["body"]["outcome"]): string {
  if (outcome === undefined) return "";
  const { status, rows, httpStatus, tokens, durationMs, masked, error } = outcome;
  const detected = Object.entries(masked?.detected ?? {}).map(
    ([name, count]) => `${count} ${name}`,
  );
  const maskedWhat = [...(masked?.columns ?? []), ...detected];
  const parts = [
    status === "ok" || status === "denied" || status === "pending" ? "" : status,
    rows === undefined ? "" : `${rows} ${rows === 1 ? "row" : "rows"}`,
    httpStatus === undefined ? "" : `HTTP ${httpStatus}`,
    tokens === undefined ? "" : `${tokens.input}+${tokens.output} tokens`,
    durationMs === undefined
      ? ""
      : `${durationMs < 10 ? Math.round(durationMs * 10) / 10 : Math.round(durationMs)} ms`,
    maskedWhat.length === 0 ? "" : `masked ${maskedWhat.join(" ")}`,
    status === "error" || status === "unknown" ? (error ?? "") : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}

export const sessionColumns = [
  "SESSION",
  "STARTED",
  "LAST",
  "SUBJECT",
  "CHAIN",
  "CONNECTION",
  "OPERATIONS",
  "DENIED",
  "HELD",
  "MASKED",
] as const;

/** One session as the cells of `sessionColumns`, escaped. */
export function sessionRow(session: SessionSummary): readonly string[] {
  const {
    id,
    started,
    last,
    ended,
    namespace,
    serviceAccount,
    pod,
    chain,
    connection,
    operations,
    denied,
    held,
    masked,
  } = session;
  const cellsOfRow = [
    id,
    started,
    ended ? last : `${last} (open)`,
    `${namespace}/${serviceAccount} (${pod})`,
    chain ?? "",
    connection,
    String(operations),
    String(denied),
    String(held),
    String(masked),
  ];
  return cellsOfRow.map(escapeLine);
}

/** Columns as wide as their widest cell. */
export function alignTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((title, column) =>
    Math.max(cells(title), ...rows.map((row) => cells(row[column] ?? ""))),
  );
  return [header, ...rows]
    .map(
      (row) =>
        `${row
          .map((cell, column) => pad(cell, widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
