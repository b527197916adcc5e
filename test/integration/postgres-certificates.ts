// A CA and what it signs, with the key and signature algorithms a test asks for.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ServerCertificate } from "./postgres-tls.ts";

const run = promisify(execFile);
const opensslTimeoutMs = 20_000;

/** How the CA signs: its own key, and options of `openssl x509 -req`. */
export const signatures = {
  "ECDSA with SHA-256": { key: ["ec", "ec_paramgen_curve:P-256"], sign: ["-sha256"] },
  "ECDSA with SHA-384": { key: ["ec", "ec_paramgen_curve:P-384"], sign: ["-sha384"] },
  "RSA with SHA-512": { key: ["rsa", "rsa_keygen_bits:2048"], sign: ["-sha512"] },
  "RSA-PSS with SHA-256": {
    key: ["rsa", "rsa_keygen_bits:2048"],
    sign: ["-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
  },
  "RSA-PSS with SHA-384": {
    key: ["rsa", "rsa_keygen_bits:2048"],
    sign: ["-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
  },
  Ed25519: { key: ["ed25519"], sign: [] },
} satisfies Readonly<Record<string, { key: readonly string[]; sign: readonly string[] }>>;

export interface TestAuthority {
  readonly caPem: string;
  /** A certificate for localhost and 127.0.0.1. */
  server(): Promise<ServerCertificate>;
  client(commonName: string): Promise<{ certificate: string; key: string }>;
  close(): Promise<void>;
}

export async function startAuthority(
  signature: keyof typeof signatures = "ECDSA with SHA-256",
): Promise<TestAuthority> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-ca-"));
  const file = (name: string): string => join(directory, name);
  const openssl = (line: string, more: readonly string[] = []): Promise<unknown> =>
    run("openssl", [...line.split(" "), ...more], { cwd: directory, timeout: opensslTimeoutMs });
  const { key, sign } = signatures[signature];
  const [kind, option] = key;
  await writeFile(
    file("openssl.cnf"),
    "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n[server]\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n[client]\nextendedKeyUsage=clientAuth\n",
  );
  const newKey = [kind ?? "", ...(option === undefined ? [] : ["-pkeyopt", option])].join(" ");
  await openssl(
    `req -x509 -newkey ${newKey} -nodes -keyout ca.key -out ca.crt -days 2 -config openssl.cnf -extensions ca`,
    ["-subj", "/CN=test ca"],
  );
  let issued = 0;
  const issue = async (commonName: string, extensions: string) => {
    issued += 1;
    const name = String(issued);
    await openssl(
      `req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${name}.key -out ${name}.csr -config openssl.cnf`,
      ["-subj", `/CN=${commonName}`],
    );
    await openssl(
      `x509 -req -in ${name}.csr -out ${name}.crt -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile openssl.cnf -extensions ${extensions}`,
      sign,
    );
    return {
      certificate: await readFile(file(`${name}.crt`), "utf8"),
      key: await readFile(file(`${name}.key`), "utf8"),
    };
  };
  const caPem = await readFile(file("ca.crt"), "utf8");
  return {
    caPem,
    server: async () => {
      const { certificate, key: keyPem } = await issue("test server", "server");
      return { caPem, certificatePem: certificate, keyPem };
    },
    client: (commonName) => issue(commonName, "client"),
    close: () => rm(directory, { recursive: true, force: true }),
  };
}
