// What a WebSocket handshake asks for: decided as the request it is, and as the upgrade that it is, which a rule has to name.
import type { DetectMask } from "../../../policy/bundle.ts";
import { recogniseHttp } from "../../../policy/http/recognise.ts";
import { providerOf } from "../../../policy/llm/providers.ts";
import { recogniseLlm } from "../../../policy/llm/recognise.ts";
import type { TokenVault } from "../../../policy/mask/token-vault.ts";
import type { HttpOperation, LlmOperation, Protocol } from "../../../policy/operation.ts";
import { ProxyError } from "../../errors.ts";
import type { LiveGrant } from "../../pipeline.ts";
import { exactOf, literal } from "../asked.ts";
import type { Asked } from "../asked.ts";
import type { RequestHead } from "../head.ts";
import { SentMask } from "../mask-sent.ts";

/** Throws ProxyError NotSupported on connections whose messages have a meaning that would be missed. */
export function askWebSocket(
  protocol: Protocol,
  head: RequestHead,
  live: LiveGrant,
  masks: readonly DetectMask[],
  vault: TokenVault,
): Asked {
  const http = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
    upgrade: "websocket",
  });
  const operation = protocol === "http" ? http : sessionOf(protocol, http, live);
  const mask =
    masks.length === 0 ? undefined : new SentMask(head, false, masks, live.bundle, vault);
  return {
    operation,
    ...(mask !== undefined && {
      sentHeaders: (headers: readonly string[]) => mask.headers(headers),
    }),
    // In front: behind the request it could be the body of another.
    exact: () => `websocket\n${exactOf(head, undefined)}`,
    content: undefined,
    form: "as asked",
    body: () => null,
    observer: () => undefined,
  };
}

/** A session with a model: what is said in it is decided on as it is said (realtime.ts). */
function sessionOf(protocol: Protocol, http: HttpOperation, live: LiveGrant): LlmOperation {
  const provider = providerOf(protocol);
  const { basePath } = live.endpoint;
  const operation = provider && recogniseLlm(provider, { http, basePath });
  if (operation?.facts.operation !== "realtime")
    throw new ProxyError(
      "NotSupported",
      `WebSockets are for connections of protocol http, and for realtime sessions with a model; what is said on one to ${protocol} could not be decided`,
    );
  return operation;
}
