/** The cluster's certificate authorities, the certificates of its programs, and a kubeconfig for each that calls the API. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { CLUSTER_NAME, NETWORK, NODE_NAME } from "./config.ts";
import { command } from "./command.ts";

/** Long enough for a cluster that is forgotten for a while; `up` makes new ones each time. */
const VALID_DAYS = "90";

/** Only a subject's name comes from the command line; no extension may slip in from the machine's own openssl.cnf. */
const OPENSSL_CONFIG = "[req]\ndistinguished_name = subject\n[subject]\n";

interface Certificate {
  readonly name: string;
  readonly authority: "ca" | "front-proxy-ca";
  readonly user: string;
  readonly group?: string;
  readonly addresses?: string;
}

const SERVICE_NAMES = [
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  "kubernetes.default.svc.cluster.local",
];

const CONTROL_PLANE_ADDRESSES = [
  ...[...SERVICE_NAMES, "localhost"].map((name) => `DNS:${name}`),
  ...[NETWORK.nodeAddress, NETWORK.kubernetesService, "127.0.0.1"].map(
    (address) => `IP:${address}`,
  ),
].join(",");

const CERTIFICATES: readonly Certificate[] = [
  {
    name: "control-plane",
    authority: "ca",
    user: "control-plane",
    addresses: CONTROL_PLANE_ADDRESSES,
  },
  { name: "apiserver-to-kubelet", authority: "ca", user: "kube-apiserver-kubelet-client" },
  { name: "front-proxy", authority: "front-proxy-ca", user: "front-proxy" },
  {
    name: "kubelet",
    authority: "ca",
    user: `system:node:${NODE_NAME}`,
    group: "system:nodes",
    addresses: `DNS:${NODE_NAME},IP:${NETWORK.nodeAddress}`,
  },
  { name: "admin", authority: "ca", user: "admin", group: "system:masters" },
  { name: "controller-manager", authority: "ca", user: "system:kube-controller-manager" },
  { name: "scheduler", authority: "ca", user: "system:kube-scheduler" },
  { name: "proxy", authority: "ca", user: "system:kube-proxy" },
  { name: "coredns", authority: "ca", user: "system:coredns" },
  { name: "volumes", authority: "ca", user: "chaperone-cluster-volumes" },
];

const CALLERS = [
  "kubelet",
  "admin",
  "controller-manager",
  "scheduler",
  "proxy",
  "coredns",
  "volumes",
] as const;

/** Writes `NAME.crt` and `NAME.key` for every program, the service account keys, and `NAME.kubeconfig` for every caller. */
export async function createPki(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(path.join(folder, "openssl.cnf"), OPENSSL_CONFIG);
  await createAuthority(folder, "ca");
  await createAuthority(folder, "front-proxy-ca");
  await command("openssl", ["genrsa", "-out", "service-accounts.key", "2048"], { cwd: folder });
  await command(
    "openssl",
    ["rsa", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub"],
    { cwd: folder },
  );
  for (const certificate of CERTIFICATES) await issue(folder, certificate);
  for (const name of CALLERS) {
    await writeFile(path.join(folder, `${name}.kubeconfig`), await kubeconfigOf(folder, name), {
      mode: 0o600,
    });
  }
}

async function createAuthority(folder: string, name: string): Promise<void> {
  await request(folder, name, [
    `-subj=/CN=${CLUSTER_NAME}-${name}`,
    "-addext=basicConstraints=critical,CA:TRUE",
    "-addext=keyUsage=critical,keyCertSign,cRLSign",
    "-addext=subjectKeyIdentifier=hash",
  ]);
}

async function issue(
  folder: string,
  { name, authority, user, group, addresses }: Certificate,
): Promise<void> {
  await request(folder, name, [
    `-CA=${authority}.crt`,
    `-CAkey=${authority}.key`,
    `-subj=${group === undefined ? "" : `/O=${group}`}/CN=${user}`,
    "-addext=basicConstraints=critical,CA:FALSE",
    "-addext=keyUsage=critical,digitalSignature",
    "-addext=extendedKeyUsage=serverAuth,clientAuth",
    ...(addresses === undefined ? [] : [`-addext=subjectAltName=${addresses}`]),
  ]);
}

async function request(folder: string, name: string, args: readonly string[]): Promise<void> {
  const key = [
    "-newkey=ec",
    "-pkeyopt=ec_paramgen_curve:prime256v1",
    "-nodes",
    `-keyout=${name}.key`,
  ];
  const certificate = ["-x509", "-config=openssl.cnf", `-days=${VALID_DAYS}`, `-out=${name}.crt`];
  await command("openssl", ["req", ...certificate, ...key, ...args], { cwd: folder });
}

/** Holds the certificates themselves, so that the file works wherever it is copied to. */
async function kubeconfigOf(folder: string, name: string): Promise<string> {
  const content = async (file: string): Promise<string> =>
    (await readFile(path.join(folder, file))).toString("base64");
  const server = `https://${NETWORK.nodeAddress}:${NETWORK.apiPort}`;
  const user = {
    "client-certificate-data": await content(`${name}.crt`),
    "client-key-data": await content(`${name}.key`),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: CLUSTER_NAME,
        cluster: { server, "certificate-authority-data": await content("ca.crt") },
      },
    ],
    users: [{ name, user }],
    contexts: [{ name: CLUSTER_NAME, context: { cluster: CLUSTER_NAME, user: name } }],
    "current-context": CLUSTER_NAME,
  });
}
