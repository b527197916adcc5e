// The control plane of a benchmark, in a process of its own as in a cluster: local mode's, over the manifests of a directory.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AddressMap } from "../../contract/addresses.ts";
import { startControl } from "../../cli/dev/control.ts";
import type { Subject } from "../../policy/operation.ts";

/** All that a proxy is told of its control plane. */
export interface ControlReady {
  readonly subject: Subject;
  readonly addresses: AddressMap;
  readonly stream: string;
  readonly url: string;
  readonly socketPath: string;
  /** Holds a fresh token at any time, as a projected volume does. */
  readonly tokenFile: string;
}

const tokenEveryMs = 60_000;

const [manifests = "", state = ""] = process.argv.slice(2);
const control = await startControl({
  files: [manifests],
  namespace: undefined,
  serviceAccount: "agent",
  chain: undefined,
  portBase: undefined,
  state,
  logLevel: "warn",
  say: (line) => process.stderr.write(`${line}\n`),
});
const tokenFile = join(state, "token");
const writeToken = async (): Promise<void> =>
  writeFile(tokenFile, await control.identity.readToken(), { mode: 0o600 });
await writeToken();
const refresh = setInterval(() => void writeToken(), tokenEveryMs);
const ready: ControlReady = {
  subject: control.identity.subject,
  addresses: control.addresses,
  stream: control.stream,
  url: control.api.origin,
  socketPath: control.paths.socket,
  tokenFile,
};
process.send?.(ready);

const end = (): void => {
  clearInterval(refresh);
  void control.close().then(() => process.exit(0));
};
process.once("SIGTERM", end);
process.once("disconnect", end);
