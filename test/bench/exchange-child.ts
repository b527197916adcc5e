// The operator's API in a process of its own, over resources in memory and a local issuer of tokens that stands for TokenReview.
import {
  LocalIssuer,
  MemoryResources,
  connection,
  podIdentity,
  policy,
  startTestApi,
} from "../../operator/api/fixture.ts";
import { issueServerCertificate } from "../integration/postgres-tls.ts";

export interface ExchangeReady {
  readonly url: string;
  /** PEM, where it speaks TLS as it does in a cluster. */
  readonly ca: string | undefined;
  /** One of each pod. */
  readonly tokens: readonly string[];
}

const pods = Number(process.argv[2]);
const issuer = new LocalIssuer();
const resources = new MemoryResources();
resources.put(connection());
resources.put(policy());
resources.putSecret("agents", "orders-db", { username: "app", password: "s3cret" });
const tokens: string[] = [];
for (let pod = 0; pod < pods; pod += 1) {
  const podUid = `6f1c0000-0000-4000-8000-${String(pod).padStart(12, "0")}`;
  issuer.setPod(podIdentity({ pod: `invoice-${pod}`, podUid }));
  tokens.push(await issuer.token(podUid));
}
const issued =
  process.argv[3] === "tls"
    ? await issueServerCertificate(["localhost"], ["127.0.0.1"])
    : undefined;
const api = await startTestApi({
  issuer,
  resources,
  ...(issued === undefined
    ? {}
    : {
        listen: {
          tls: { cert: issued.certificatePem, key: issued.keyPem },
          host: "127.0.0.1",
          port: 0,
        },
      }),
});
// What the audit would take elsewhere must not gather here.
setInterval(() => void [api.recorded.splice(0), issuer.peers.splice(0)], 100).unref();
const ready: ExchangeReady = { url: api.origin, ca: issued?.caPem, tokens };
process.send?.(ready);
process.once("SIGTERM", () => void api.close().then(() => process.exit(0)));
process.once("disconnect", () => process.exit(0));
