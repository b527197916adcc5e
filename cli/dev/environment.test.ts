import assert from "node:assert/strict";
import { test } from "node:test";
import { runEnvironment } from "./environment.ts";

const proxy = { address: "127.0.0.1", port: 4321 };

test("a command trusts the bundle whatever its caller trusted, and goes through the proxy but for loopback", () => {
  const env = runEnvironment(
    { SSL_CERT_FILE: "/elsewhere", NO_PROXY: "internal.example", OTHER: "kept" },
    [],
    "/state/ca.crt",
    proxy,
  );
  assert.equal(env["SSL_CERT_FILE"], "/state/ca.crt");
  assert.equal(env["https_proxy"], "http://127.0.0.1:4321");
  assert.equal(env["NO_PROXY"], "internal.example,127.0.0.1,localhost,::1");
  assert.equal(env["OTHER"], "kept");
});

test("a JVM keeps the caller's options and gets trust and proxy after them", () => {
  const env = runEnvironment({ JAVA_TOOL_OPTIONS: "-Xmx64m" }, [], "/state/ca.crt", proxy);
  assert.equal(
    env["JAVA_TOOL_OPTIONS"],
    "-Xmx64m -Djavax.net.ssl.trustStore=/state/ca.p12 -Djavax.net.ssl.trustStoreType=PKCS12" +
      " -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=4321 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=4321",
  );
});

test("a variable that a Connection injects has the last word", () => {
  const connection = {
    namespace: "agents",
    name: "api",
    protocol: "http",
    address: "127.0.0.1:1",
    url: "http://127.0.0.1:1",
    env: { NODE_USE_ENV_PROXY: "0" },
    isKeyed: false,
  };
  assert.equal(runEnvironment({}, [connection], "/ca.crt", proxy)["NODE_USE_ENV_PROXY"], "0");
});
