import assert from "node:assert/strict";
import { test } from "node:test";
import { javaOptions, trustEnvironment } from "./trust.ts";

test("every variable names the bundle, and Java's the truststore beside it", () => {
  assert.deepEqual(trustEnvironment("/etc/chaperone/trust/ca.crt"), {
    SSL_CERT_FILE: "/etc/chaperone/trust/ca.crt",
    REQUESTS_CA_BUNDLE: "/etc/chaperone/trust/ca.crt",
    CURL_CA_BUNDLE: "/etc/chaperone/trust/ca.crt",
    PGSSLROOTCERT: "/etc/chaperone/trust/ca.crt",
    NODE_EXTRA_CA_CERTS: "/etc/chaperone/trust/ca.crt",
    GIT_SSL_CAINFO: "/etc/chaperone/trust/ca.crt",
    AWS_CA_BUNDLE: "/etc/chaperone/trust/ca.crt",
    JAVA_TOOL_OPTIONS:
      "-Djavax.net.ssl.trustStore=/etc/chaperone/trust/ca.p12 -Djavax.net.ssl.trustStoreType=PKCS12",
  });
});

test("a value with a space is one option", () => {
  assert.equal(javaOptions({ a: "/my files/ca.p12", b: "c" }), '-Da="/my files/ca.p12" -Db=c');
});
