// Waits for an agent's ClientHello, within bounds, and keeps its bytes for the upstream.
import type { Socket } from "node:net";

import { ProxyError } from "../errors.ts";
import { alerts, ClientHelloReader } from "./client-hello.ts";

export interface Hello {
  /** Lower case. */
  readonly host: string;
  /** All that was read, which the upstream is to get. */
  readonly bytes: Buffer;
}

/** Not TLS, or not TLS that can be decided on. */
export class NoHello extends ProxyError {
  /** How TLS says it. */
  readonly alert: number;

  constructor(problem: string, alert: number) {
    super(
      "MalformedRequest",
      `passthrough needs TLS with a readable server name; this is ${problem}`,
    );
    this.alert = alert;
  }
}

/** It sent nothing wrong. */
export class ClientLeft extends ProxyError {
  constructor() {
    super("ShuttingDown", "the client closed its connection");
  }
}

/** A client on the same machine needs milliseconds; the rest is patience with a busy one. */
const helloTimeoutMs = 10_000;

/** Throws NoHello or ClientLeft. The socket is paused afterwards. */
export function readHello(socket: Socket, timeoutMs = helloTimeoutMs): Promise<Hello> {
  const { promise, resolve, reject } = Promise.withResolvers<Hello>();
  const reader = new ClientHelloReader();
  const chunks: Buffer[] = [];
  const settle = (): void => {
    clearTimeout(timer);
    socket.off("data", onData).off("close", onGone).off("end", onGone);
    socket.pause();
  };
  const fail = (error: ProxyError): void => {
    settle();
    reject(error);
  };
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    const answer = reader.push(chunk);
    if (answer === "more") return;
    if ("problem" in answer) {
      fail(new NoHello(answer.problem, answer.alert));
      return;
    }
    settle();
    resolve({ host: answer.host, bytes: Buffer.concat(chunks) });
  };
  const onGone = (): void => fail(new ClientLeft());
  const timer = setTimeout(
    () => fail(new NoHello(`no ClientHello within ${timeoutMs} ms`, alerts.handshakeFailure)),
    timeoutMs,
  );
  if (socket.destroyed) onGone();
  else socket.on("data", onData).once("close", onGone).once("end", onGone).resume();
  return promise;
}
