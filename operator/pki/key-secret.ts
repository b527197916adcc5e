// The KeyStore of a cluster: the keys that sign grants, in one Secret that every replica reads.
import { parseKeys } from "../grants/key-file.ts";
import type { KeyStore } from "../grants/keys.ts";
import type { NamedSecret } from "./named-secret.ts";

const member = "keys.json";

export function keySecretStore(secret: NamedSecret): KeyStore {
  return {
    async load(signal) {
      const { values, revision } = await secret.load(signal);
      const text = values[member];
      return {
        keys:
          text === undefined
            ? undefined
            : parseKeys(text, `Secret ${secret.namespace}/${secret.name}`),
        revision,
      };
    },
    save: (keys, revision, signal) =>
      secret.save({ [member]: JSON.stringify(keys) }, revision, signal),
  };
}
