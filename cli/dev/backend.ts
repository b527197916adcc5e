// The state commands on a laptop: reads the store of a state directory, running or not, and asks the running process to decide.
import { existsSync } from "node:fs";
import { request as httpRequest } from "node:http";
import type { Backend, QuarantineRow, RequestRow } from "../backend.ts";
import { Failure } from "../exit.ts";
import { openReader } from "../../operator/audit/reader.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import { QuarantineFiles } from "./quarantine-files.ts";
import { isCode, statePaths } from "./state.ts";

/** A process on the same machine answers in milliseconds. */
const callTimeoutMs = 10_000;

export async function openLocalBackend(stateDirectory: string): Promise<Backend> {
  const paths = statePaths(stateDirectory);
  if (!existsSync(paths.directory)) {
    throw new Failure(
      `there is no state directory ${paths.directory}; name the one of your \`chaperone dev\` or \`run\` with --state`,
    );
  }
  const reader = existsSync(paths.store) ? await openReader(paths.store) : undefined;
  const never = new AbortController().signal;
  const requests = async (): Promise<readonly RequestRow[]> =>
    ((await call(paths.socket, "GET", "/v1/read/requests")) as { requests: RequestRow[] }).requests;
  const fileQuarantines = () => new QuarantineFiles(paths.quarantines);

  return {
    events: async (query) =>
      reader === undefined ? { events: [], cursor: 0 } : reader.events(query, never),
    sessions: async (limit) => (reader === undefined ? [] : reader.sessions({ limit }, never)),
    async recording(session, whole) {
      if (reader === undefined) return { events: [], contents: [] };
      const id = await pickSession(await reader.sessions({ limit: 100_000 }, never), session);
      return id === undefined ? { events: [], contents: [] } : reader.recording(id, whole, never);
    },
    budgets: async () => (reader === undefined ? [] : reader.budgets(Date.now(), never)),
    verify: async () => (reader === undefined ? [] : reader.verify(undefined, never)),
    async requests(all) {
      const rows = await requests();
      return all ? rows : rows.filter((row) => row.phase === "Pending" || row.phase === "Approved");
    },
    async decide(namespace, name, verdict, reason) {
      const within = namespace ?? (await requests()).find((row) => row.name === name)?.namespace;
      if (within === undefined)
        throw new Failure(
          `there is no access request ${name}; see: chaperone requests list --state ${stateDirectory}`,
        );
      const path = `/v1/read/requests/${encodeURIComponent(within)}/${encodeURIComponent(name)}/decision`;
      return (await call(paths.socket, "POST", path, {
        verdict,
        ...(reason === undefined ? {} : { reason }),
      })) as RequestRow;
    },
    pods: () =>
      Promise.reject(
        new Failure(
          "on a laptop nobody is held, and there are no pods; see those of a cluster with: chaperone pods --cluster",
        ),
      ),
    quarantines: async () => fileQuarantines().list().map(quarantineRow),
    async addQuarantine(input) {
      const [newest] = (await reader?.sessions({ limit: 1 }, never)) ?? [];
      return quarantineRow(fileQuarantines().add(input, newest?.namespace ?? "default"));
    },
    async liftQuarantine(_namespace, name) {
      if (fileQuarantines().lift(name) === undefined)
        throw new Failure(
          `there is no quarantine ${name}; see: chaperone quarantine list --state ${stateDirectory}`,
        );
    },
    close: async () => reader?.close(),
  };
}

/** A whole id, a unique beginning of one, or the newest. */
export async function pickSession(
  sessions: readonly { readonly id: string }[],
  wanted: string | undefined,
): Promise<string | undefined> {
  if (wanted === undefined) return sessions.at(-1)?.id;
  const matching = sessions.filter(
    ({ id }) => id.startsWith(wanted.toUpperCase()) || id === wanted,
  );
  if (matching.length > 1)
    throw new Failure(`${matching.length} sessions begin with ${wanted}; give more of the id`);
  return matching[0]?.id;
}

export function quarantineRow({ metadata, spec }: Quarantine): QuarantineRow {
  const subjects = (spec.subjects ?? []).flatMap(({ serviceAccounts, pods }) => [
    ...(serviceAccounts ?? []).map((name) => `service account ${name}`),
    ...(pods ?? []).map((name) => `pod ${name}`),
  ]);
  const connections = (spec.connections ?? []).map((name) => `connection ${name}`);
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    selects:
      spec.all === true ? "everything in the namespace" : [...subjects, ...connections].join(", "),
    reason: spec.reason,
    createdAt: metadata.creationTimestamp ?? "",
    ...(spec.until === undefined ? {} : { until: spec.until }),
  };
}

async function call(
  socketPath: string,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<unknown> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const { status, text } = await new Promise<{ status: number; text: string }>(
    (resolve, reject) => {
      const headers =
        payload === undefined
          ? {}
          : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) };
      const request = httpRequest(
        { socketPath, method, path, headers, timeout: callTimeoutMs },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => (text += chunk));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
          response.on("error", reject);
        },
      );
      request.on("timeout", () => request.destroy(new Error("no answer in time")));
      request.on("error", reject);
      request.end(payload);
    },
  ).catch((cause: unknown) => {
    if (isCode(cause, "ENOENT") || isCode(cause, "ECONNREFUSED"))
      throw new Failure(
        "no `chaperone dev` or `run` is working in this state directory; held operations live with it",
        { cause },
      );
    throw cause;
  });
  const answer: unknown = JSON.parse(text);
  if (status >= 200 && status < 300) return answer;
  const description =
    typeof answer === "object" && answer !== null && "error_description" in answer
      ? String(answer.error_description)
      : text;
  throw new Failure(description);
}
