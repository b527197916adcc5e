// For tests: an API server of one collection that does what a script says, one step a request: the faults a real one has on its worst day.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { KubeClient } from "./client.ts";

export interface SeenRequest {
  readonly isWatch: boolean;
  readonly url: URL;
  readonly at: number;
}

/** Answers one request. Returning leaves the connection as it is: open, when the step did not end the answer. */
export type Step = (answer: ScriptedAnswer, request: SeenRequest) => void | Promise<void>;

export interface ScriptedAnswer {
  json(status: number, body: unknown, headers?: Readonly<Record<string, string>>): void;
  list(version: string, objects: readonly unknown[], more?: string): void;
  status(code: number, reason: string, headers?: Readonly<Record<string, string>>): void;
  /** Writes watch events; the stream stays open. */
  events(...events: readonly unknown[]): void;
  raw(text: string): void;
  end(): void;
  destroy(): void;
}

export interface ScriptedApi {
  readonly client: KubeClient;
  readonly requests: readonly SeenRequest[];
  /** Steps not taken yet. */
  left(): number;
  close(): Promise<void>;
}

/** Lists take the next step of `lists`, watches of `watches`; when there is none left, a list is refused and a watch stays silent. */
export async function scriptedApi(lists: Step[], watches: Step[]): Promise<ScriptedApi> {
  const requests: SeenRequest[] = [];
  const open = new Set<ServerResponse>();
  const server = createServer((request: IncomingMessage, response) => {
    open.add(response);
    response.on("close", () => open.delete(response));
    const url = new URL(request.url ?? "/", "http://scripted");
    const seen: SeenRequest = {
      isWatch: url.searchParams.get("watch") === "true",
      url,
      at: Date.now(),
    };
    requests.push(seen);
    const step = (seen.isWatch ? watches : lists).shift();
    const answer = answerOn(response);
    if (step === undefined) {
      if (seen.isWatch) answer.events();
      else answer.status(500, "NoStep");
      return;
    }
    Promise.resolve(step(answer, seen)).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = new KubeClient(
    { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {}, tls: {} }) },
    "test",
  );
  return {
    client,
    requests,
    left: () => lists.length + watches.length,
    async close() {
      await client.close();
      for (const response of open) response.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answerOn(response: ServerResponse): ScriptedAnswer {
  const begin = (): void => {
    if (!response.headersSent) response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
  };
  const json: ScriptedAnswer["json"] = (status, body, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
  return {
    json,
    list: (version, objects, more) =>
      json(200, {
        kind: "PodList",
        metadata: { resourceVersion: version, ...(more === undefined ? {} : { continue: more }) },
        items: objects,
      }),
    status: (code, reason, headers) =>
      json(
        code,
        { kind: "Status", status: "Failure", code, reason, message: `scripted ${reason}` },
        headers,
      ),
    events(...events) {
      begin();
      for (const event of events) response.write(`${JSON.stringify(event)}\n`);
    },
    raw(text) {
      begin();
      response.write(text);
    },
    end: () => void response.end(),
    destroy: () => void response.destroy(),
  };
}

export function pod(
  name: string,
  version: string | number,
  extra: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return {
    metadata: {
      name,
      namespace: "agents",
      uid: `uid-${name}`,
      resourceVersion: String(version),
      managedFields: [{ manager: "kubelet" }],
    },
    ...extra,
  };
}

export function event(type: string, object: unknown): Record<string, unknown> {
  return { type, object };
}

export function bookmark(version: string | number): Record<string, unknown> {
  return event("BOOKMARK", { kind: "Pod", metadata: { resourceVersion: String(version) } });
}
