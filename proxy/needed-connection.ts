// Says of a place that no Connection names which one would be needed.
import { isIP } from "node:net";

import type { RefusedTarget } from "../contract/event.ts";

const postgresPort = 5432;

export function neededConnection({ host, port, scheme }: Omit<RefusedTarget, "count">): string {
  if (scheme === "dns")
    return `no Connection has the host name ${host}, so that it does not exist here; to reach it, add a Connection with that name as its endpoint (or among its hosts) and an AccessPolicy that targets it`;
  const missing = `no Connection names ${host}:${port}`;
  if (isIP(host.replace(/^\[|\]$/g, "")) !== 0)
    return `${missing}, and addresses are never reached by number: dial a name, and add a Connection with that name among its hosts and an AccessPolicy that targets it`;
  if (port === postgresPort)
    return `${missing}; to reach it, add a Connection of protocol postgres with endpoint.host ${host} and an AccessPolicy that targets it`;
  if (scheme === "tcp")
    return `${missing}; to reach it, add a Connection with endpoint.host ${host} and endpoint.port ${port} (or endpoint.url) and an AccessPolicy that targets it`;
  const isDefault = port === (scheme === "https" ? 443 : 80);
  const url = `${scheme}://${host}${isDefault ? "" : `:${port}`}`;
  return `${missing}; to reach it, add a Connection with endpoint.url ${url} (or with ${host} among its hosts) and an AccessPolicy that targets it`;
}
