// Keeps the pins of an MCP server's tools in the status of its Connection.
import type { KubeClient } from "../kube/client.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import type { PinStore, ResourceView } from "../resources.ts";

/** Another than that of the rest of the status: neither takes away what the other says. */
const fieldManager = "chaperone-tools";

export function pinStatus(client: KubeClient, view: Pick<ResourceView, "connection">): PinStore {
  const find = (connection: string) => {
    const [namespace = "", name = ""] = connection.split("/");
    return view.connection(namespace, name);
  };
  return {
    read: async (connection) => find(connection)?.status?.tools ?? [],
    async write(connection, tools, signal) {
      const found = find(connection);
      if (found === undefined) return;
      await applyStatus(
        client,
        resourceTypes.Connection,
        { ...found, status: { tools: found.status?.tools } },
        { tools: tools.map(({ name, digest }) => ({ name, digest })) },
        fieldManager,
        signal,
      );
    },
  };
}
