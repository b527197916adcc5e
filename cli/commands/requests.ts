// `requests list`, `approve` and `deny`: held operations and the people who decide them.
import type { Backend, RequestRow } from "../backend.ts";
import { age, json, plain, table } from "../output.ts";

export async function list(
  backend: Backend,
  options: { output: string; all?: boolean },
): Promise<void> {
  try {
    const rows = await backend.requests(options.all === true);
    if (options.output === "json") process.stdout.write(json(rows));
    else if (rows.length === 0) process.stderr.write("no open access requests\n");
    else
      process.stdout.write(
        table(
          ["NAMESPACE", "NAME", "PHASE", "REQUESTER", "CONNECTION", "AGE", "OPERATION"],
          rows.map(row),
        ),
      );
  } finally {
    await backend.close();
  }
}

export async function decide(
  backend: Backend,
  name: string,
  verdict: "Approved" | "Denied",
  options: { namespace?: string; reason?: string },
): Promise<void> {
  try {
    const decided = await backend.decide(options.namespace, name, verdict, options.reason);
    const what =
      decided.phase === "Pending"
        ? `noted; ${decided.name} needs more approvals`
        : `${decided.name} ${decided.phase.toLowerCase()}`;
    const until =
      decided.phase === "Approved" && decided.validUntil !== undefined
        ? `, once, until ${decided.validUntil}`
        : "";
    process.stdout.write(
      `${plain(what)}${until}${decided.by === undefined ? "" : ` (by ${plain(decided.by)})`}\n  ${plain(decided.summary)}\n`,
    );
  } finally {
    await backend.close();
  }
}

function row(request: RequestRow): string[] {
  return [
    request.namespace,
    request.name,
    request.phase,
    request.requester,
    request.connection,
    age(request.openedAt, Date.now()),
    request.summary,
  ];
}
