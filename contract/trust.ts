// How programs in a pod, or under `chaperone run`, are told whom to trust: files that the proxy writes and variables that point at them.
import { posix } from "node:path";

/** What TLS libraries and command lines read; all but NODE_EXTRA_CA_CERTS replace the roots, which the file therefore contains. */
const bundleVariables = [
  "SSL_CERT_FILE",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "PGSSLROOTCERT",
  "NODE_EXTRA_CA_CERTS",
  "GIT_SSL_CAINFO",
  "AWS_CA_BUNDLE",
] as const;

/** The one variable that every JVM reads, however it is started. */
export const javaOptionsVariable = "JAVA_TOOL_OPTIONS";

/** The same certificates as a PKCS #12 truststore, for Java, which reads no PEM: beside the bundle. */
export function truststoreBeside(bundleFile: string): string {
  return posix.join(posix.dirname(bundleFile), "ca.p12");
}

/** Every variable that makes a program trust what the bundle holds, by name. */
export function trustEnvironment(bundleFile: string): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(bundleVariables.map((name) => [name, bundleFile])),
    [javaOptionsVariable]: javaTrust(truststoreBeside(bundleFile)),
  };
}

/** The store has no password: what it holds is public. */
function javaTrust(truststoreFile: string): string {
  return javaOptions({
    "javax.net.ssl.trustStore": truststoreFile,
    "javax.net.ssl.trustStoreType": "PKCS12",
  });
}

/** System properties as options of a JVM; it takes a value with spaces in quotes. */
export function javaOptions(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([name, value]) => `-D${name}=${/\s/.test(value) ? `"${value}"` : value}`)
    .join(" ");
}
