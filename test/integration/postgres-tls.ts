// A certificate authority and a server certificate for a test server, made afresh each time so that no key is ever committed.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export interface ServerCertificate {
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
}

const run = promisify(execFile);
/** openssl makes a P-256 key in milliseconds; a loaded machine may take seconds. */
const opensslTimeoutMs = 20_000;
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** Issues a certificate for the DNS names and IP addresses given, signed by a CA made for this call alone. */
export async function issueServerCertificate(
  dnsNames: readonly string[],
  addresses: readonly string[],
): Promise<ServerCertificate> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-tls-"));
  const file = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): Promise<unknown> =>
    run("openssl", args, { cwd: directory, timeout: opensslTimeoutMs });
  try {
    const names = [
      ...dnsNames.map((name) => `DNS:${name}`),
      ...addresses.map((address) => `IP:${address}`),
    ];
    await writeFile(
      file("openssl.cnf"),
      [
        "[req]",
        "distinguished_name = dn",
        "[dn]",
        "[ca]",
        "basicConstraints = critical,CA:true,pathlen:0",
        "keyUsage = critical,keyCertSign,cRLSign",
        "subjectKeyIdentifier = hash",
        "[server]",
        "basicConstraints = critical,CA:false",
        "extendedKeyUsage = serverAuth",
        `subjectAltName = ${names.join(",")}`,
        "",
      ].join("\n"),
    );
    const config = ["-config", file("openssl.cnf")];
    await openssl(
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      "ca.key",
      "-out",
      "ca.crt",
      "-days",
      "2",
      "-subj",
      "/CN=test ca",
      ...config,
      "-extensions",
      "ca",
    );
    await openssl(
      "req",
      ...newKey,
      "-keyout",
      "server.key",
      "-out",
      "server.csr",
      "-subj",
      "/CN=test server",
      ...config,
    );
    const signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    await openssl(
      "x509",
      "-req",
      "-in",
      "server.csr",
      "-out",
      "server.crt",
      ...signing,
      "-extfile",
      file("openssl.cnf"),
      "-extensions",
      "server",
    );
    const [caPem, certificatePem, keyPem] = await Promise.all([
      readFile(file("ca.crt"), "utf8"),
      readFile(file("server.crt"), "utf8"),
      readFile(file("server.key"), "utf8"),
    ]);
    return { caPem, certificatePem, keyPem };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
