// For tests: an API server that takes whatever it is sent, keeps it, and lets a test wait for it.
import { createServer } from "node:http";
import type { TestContext } from "node:test";
import { KubeClient } from "./client.ts";

export interface Sent {
  /** `METHOD /path?query`. */
  readonly call: string;
  readonly body: unknown;
}

export interface AnsweringApi {
  readonly client: KubeClient;
  readonly sent: readonly Sent[];
  /** Resolves once that many patches were taken. */
  patched(count: number): Promise<readonly Sent[]>;
  /** To be done before the server goes. */
  closing(close: () => Promise<void>): void;
}

/** @param answer what is said to a call that is no patch */
export async function answeringApi(
  t: TestContext,
  answer: (call: string) => unknown = () => ({}),
): Promise<AnsweringApi> {
  const sent: Sent[] = [];
  const waiting: (() => void)[] = [];
  const closers: (() => Promise<void>)[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const call = `${request.method ?? ""} ${request.url ?? ""}`;
      const text = Buffer.concat(chunks).toString("utf8");
      sent.push({ call, body: text === "" ? undefined : JSON.parse(text) });
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify(answer(call)));
      for (const go of waiting.splice(0)) go();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = new KubeClient(
    { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {}, tls: {} }) },
    "test",
  );
  t.after(async () => {
    for (const close of closers) await close();
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const patches = (): readonly Sent[] => sent.filter(({ call }) => call.startsWith("PATCH "));
  return {
    client,
    sent,
    closing: (close) => void closers.push(close),
    async patched(count) {
      while (patches().length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return patches();
    },
  };
}
