// Quarantines as resources: whoever may write them by Kubernetes RBAC cuts off and restores, also while the operator is away.
import {
  collectionPath,
  fieldAt,
  listAt,
  objectPath,
  readObject,
} from "../../operator/kube/objects.ts";
import { resourceTypes } from "../../operator/kube/resource-types.ts";
import { typedReader } from "../../operator/kube/typed.ts";
import type { Quarantine, QuarantineSpec } from "../../crds/types.gen.ts";
import type { QuarantineInput } from "../backend.ts";
import { Failure } from "../exit.ts";
import type { Scope } from "./scope.ts";
import { type Answer, type ApiServer, refusal, roles } from "./api-server.ts";

const type = resourceTypes.Quarantine;
const readTyped = typedReader("Quarantine");

/** One page of the API server; nobody keeps more quarantines in force, and what is cut off here would only be shown, not lifted. */
const maxListed = 500;

export interface Quarantines {
  /** Of every namespace, or of the context's own when no more may be seen. */
  list(): Promise<readonly Quarantine[]>;
  add(input: QuarantineInput): Promise<Quarantine>;
  lift(namespace: string | undefined, name: string): Promise<void>;
}

export function quarantines(server: ApiServer, scope: Scope): Quarantines {
  const listIn = async (namespace: string | undefined): Promise<readonly Quarantine[]> => {
    const path = `${collectionPath(type, namespace)}?limit=${maxListed}`;
    const answer = await server.call({ method: "GET", path });
    if (answer.status === 200) return items(answer);
    const failure = refused("quarantines cannot be listed", answer);
    throw answer.status === 403 ? new Forbidden(failure.message) : failure;
  };
  const list = (): Promise<readonly Quarantine[]> =>
    scope.ask(listIn, (error) => error instanceof Forbidden);

  return {
    list,
    async add(input) {
      const namespace = input.namespace ?? server.cluster.namespace;
      const what = `no quarantine was made in namespace ${namespace}`;
      const answer = await server.call({
        method: "POST",
        path: collectionPath(type, namespace),
        body: {
          apiVersion: "chaperone.dev/v1alpha1",
          kind: "Quarantine",
          metadata: { generateName: "q-", namespace },
          spec: specOf(input),
        },
      });
      if (answer.status !== 201) throw refused(what, answer);
      return read(answer.body);
    },
    async lift(namespace, name) {
      const within = namespace ?? only(await list(), name);
      const answer = await server.call({ method: "DELETE", path: objectPath(type, within, name) });
      if (answer.status === 404) throw unknown(name, within);
      if (answer.status >= 300) throw refused(`quarantine ${within}/${name} stays`, answer);
    },
  };
}

class Forbidden extends Failure {}

function specOf({ serviceAccount, pod, connection, all, reason }: QuarantineInput): QuarantineSpec {
  return {
    reason,
    ...(serviceAccount === undefined ? {} : { subjects: [{ serviceAccounts: [serviceAccount] }] }),
    ...(pod === undefined ? {} : { subjects: [{ pods: [pod] }] }),
    ...(connection === undefined ? {} : { connections: [connection] }),
    ...(all === true ? { all } : {}),
  };
}

function only(all: readonly Quarantine[], name: string): string {
  const [first, ...others] = all.filter(({ metadata }) => metadata.name === name);
  if (first === undefined) throw unknown(name);
  if (others.length > 0)
    throw new Failure(`several namespaces have a quarantine ${name}; name one with --namespace`);
  return first.metadata.namespace;
}

function unknown(name: string, namespace?: string): Failure {
  const where = namespace === undefined ? "" : ` in namespace ${namespace}`;
  return new Failure(
    `there is no quarantine ${name}${where}; see: kubectl chaperone quarantine list`,
  );
}

function refused(what: string, answer: Answer): Failure {
  // 404 on the collection: the API server does not know the kind.
  if (answer.status === 404 && fieldAt(answer.body, "details", "name") === undefined)
    return new Failure(`${what}: Chaperone is not installed in this cluster`);
  return refusal(what, answer, roles.responder);
}

function read(value: unknown): Quarantine {
  return readTyped(readObject(value, type));
}

function items({ body }: Answer): readonly Quarantine[] {
  return listAt(body, "items").map(read);
}
