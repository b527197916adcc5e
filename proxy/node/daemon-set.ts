// Whether the DaemonSet that this agent belongs to is going away, or only its pod: asked once, when the pod is told to end.
import { readFile } from "node:fs/promises";
import { request } from "node:https";

export interface DaemonSetPlace {
  readonly namespace: string;
  readonly name: string;
  /** The API server, as the kubelet names it in every pod. */
  readonly host: string;
  readonly port: number;
  /** Of the pod's service account: `token` and `ca.crt`. */
  readonly accountDirectory: string;
}

/** The pod has half a minute to end. */
const timeoutMs = 5_000;
/** One DaemonSet. */
const maxAnswerBytes = 1024 * 1024;

export interface ApiAnswer {
  readonly status: number;
  readonly body: string;
}

/**
 * Pure. An agent may always read its own DaemonSet: when the API server knows neither it nor its rights any more, the installation is being taken away
 * (Helm deletes both in one go). Whatever else happens, the plugin stays: a restart, an upgrade, an API server that is busy.
 */
export function isGone({ status, body }: ApiAnswer): boolean {
  if (status === 401 || status === 403 || status === 404) return true;
  return status === 200 && deletionOf(body) !== undefined;
}

function deletionOf(body: string): unknown {
  const object: unknown = JSON.parse(body);
  const metadata: unknown = Object(object).metadata;
  return Object(metadata).deletionTimestamp;
}

/** @throws Error when the API server does not answer */
export async function readDaemonSet(place: DaemonSetPlace): Promise<ApiAnswer> {
  const [token, ca] = await Promise.all(
    ["token", "ca.crt"].map((name) => readFile(`${place.accountDirectory}/${name}`, "utf8")),
  );
  const path = `/apis/apps/v1/namespaces/${encodeURIComponent(place.namespace)}/daemonsets/${encodeURIComponent(place.name)}`;
  return await new Promise((resolve, reject) => {
    const call = request(
      {
        host: place.host,
        port: place.port,
        path,
        ca,
        headers: { authorization: `Bearer ${token?.trim()}`, accept: "application/json" },
        signal: AbortSignal.timeout(timeoutMs),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxAnswerBytes) call.destroy(new Error("the API server's answer is too long"));
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
      },
    );
    call.on("error", reject);
    call.end();
  });
}
