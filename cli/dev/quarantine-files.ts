// Quarantines of local mode: made by `quarantine add`, kept as files so that they outlive a restart, until they are lifted.
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Quarantine } from "../../crds/types.gen.ts";
import type { QuarantineInput } from "../backend.ts";

/** Nobody cuts off this many subjects of one laptop; more means a loop. */
const maxQuarantines = 256;

export class QuarantineFiles {
  readonly #directory: string;
  readonly #quarantines = new Map<string, Quarantine>();

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(directory)) {
      if (!file.endsWith(".json")) continue;
      const quarantine = JSON.parse(readFileSync(join(directory, file), "utf8")) as Quarantine;
      this.#quarantines.set(quarantine.metadata.name, quarantine);
    }
  }

  list(): readonly Quarantine[] {
    return [...this.#quarantines.values()];
  }

  add(input: QuarantineInput, defaultNamespace: string): Quarantine {
    if (this.#quarantines.size >= maxQuarantines)
      throw new Error(`${maxQuarantines} quarantines are in force; lift some first`);
    const { serviceAccount, pod, connection, all, reason } = input;
    const quarantine: Quarantine = {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "Quarantine",
      metadata: {
        name: `q-${randomBytes(3).toString("hex")}`,
        namespace: input.namespace ?? defaultNamespace,
        creationTimestamp: new Date().toISOString(),
      },
      spec: {
        reason,
        ...(serviceAccount === undefined
          ? {}
          : { subjects: [{ serviceAccounts: [serviceAccount] }] }),
        ...(pod === undefined ? {} : { subjects: [{ pods: [pod] }] }),
        ...(connection === undefined ? {} : { connections: [connection] }),
        ...(all === true ? { all } : {}),
      },
    };
    const file = this.#file(quarantine.metadata.name);
    writeFileSync(`${file}.new`, JSON.stringify(quarantine, null, 2), { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
    this.#quarantines.set(quarantine.metadata.name, quarantine);
    return quarantine;
  }

  lift(name: string): Quarantine | undefined {
    const quarantine = this.#quarantines.get(name);
    if (quarantine === undefined) return undefined;
    rmSync(this.#file(name), { force: true });
    this.#quarantines.delete(name);
    return quarantine;
  }

  #file(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}
