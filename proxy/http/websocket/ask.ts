// What a WebSocket handshake asks for: decided as the request it is, and as the upgrade that it is, which a rule has to name.
import { recogniseHttp } from "../../../policy/http/recognise.ts";
import type { Protocol } from "../../../policy/operation.ts";
import { ProxyError } from "../../errors.ts";
import type { LiveGrant } from "../../pipeline.ts";
import { exactOf, literal } from "../asked.ts";
import type { Asked } from "../asked.ts";
import type { RequestHead } from "../head.ts";

/** Throws ProxyError NotSupported on connections whose messages have a meaning that would be missed. */
export function askWebSocket(protocol: Protocol, head: RequestHead, live: LiveGrant): Asked {
  if (protocol !== "http")
    throw new ProxyError(
      "NotSupported",
      `WebSockets are for connections of protocol http; what is said on one to ${protocol} could not be decided`,
    );
  const operation = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
    upgrade: "websocket",
  });
  return {
    operation,
    // In front: behind the request it could be the body of another.
    exact: () => `websocket\n${exactOf(head, undefined)}`,
    content: undefined,
    form: "as asked",
    body: () => null,
    observer: () => undefined,
  };
}
