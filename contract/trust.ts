// How programs in a pod, or under `chaperone run`, are told whom to trust: files that the proxy writes and variables that point at them.
import { posix } from "node:path";
import type { ListenAddress } from "./addresses.ts";

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

/**
 * Every variable that makes a program trust what the bundle holds, by name.
 *
 * @param proxy where `HTTPS_PROXY` points: no JVM reads that variable, so its options say the same
 */
export function trustEnvironment(
  bundleFile: string,
  proxy?: ListenAddress,
): Readonly<Record<string, string>> {
  const options = [javaTrust(truststoreBeside(bundleFile))];
  if (proxy !== undefined) options.push(javaProxy(proxy));
  return {
    ...Object.fromEntries(bundleVariables.map((name) => [name, bundleFile])),
    [javaOptionsVariable]: options.join(" "),
  };
}

/** Its own default for http.nonProxyHosts, which serves https too, leaves loopback out already. */
function javaProxy({ address, port }: ListenAddress): string {
  return javaOptions({
    "http.proxyHost": address,
    "http.proxyPort": String(port),
    "https.proxyHost": address,
    "https.proxyPort": String(port),
  });
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
