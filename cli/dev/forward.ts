// HTTP_PROXY and HTTPS_PROXY of local mode: agents may dial the connections' own host names, and nothing else.
import { listen } from "../../proxy/net/listen.ts";
import { createForwardProxy } from "../../proxy/http/forward-proxy.ts";
import type { RunningProxy } from "../../proxy/start.ts";

export interface ForwardProxy {
  readonly url: string;
  close(): Promise<void>;
}

export async function startForwardProxy(proxy: RunningProxy): Promise<ForwardProxy> {
  const forward = createForwardProxy({
    authority: proxy.authority,
    routeFor: proxy.routeFor,
    accept: proxy.acceptHttp,
  });
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => forward.accept(socket),
  });
  return {
    url: `http://127.0.0.1:${listener.port}`,
    async close() {
      // Handshakes that nobody finishes are cut, or the listener would wait for them.
      await Promise.all([listener.close(), forward.close()]);
    },
  };
}
