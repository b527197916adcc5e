/** Runs in the job's pod: looks at the cluster from the inside and prints one line for each thing found as promised. */
import assert from "node:assert/strict";
import { lookup } from "node:dns/promises";
import { readFile, writeFile } from "node:fs/promises";
import https from "node:https";

const TIMEOUT_MS = 10_000;

async function read(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  return await response.text();
}

const { address } = await lookup("server.chaperone-smoke.svc.cluster.local");
assert.equal(await read("http://server:8080/"), "server");
console.log(`a Service is found by name (${address}) and answers`);

assert.equal((await lookup("api.example.com")).address, "127.0.64.1");
assert.equal(await read("http://api.example.com:443/"), "sidecar");
console.log("a host alias leads to the sidecar on port 443 of a loopback address");

const token = await readFile("/var/run/secrets/chaperone.dev/token", "utf8");
const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
assert.deepEqual(Object(claims).aud, ["chaperone-smoke"]);
console.log("a token for an audience of its own is projected");

await writeFile("/data/file", "kept");
assert.equal(await readFile("/data/file", "utf8"), "kept");
console.log("a claim of the default class can be written by a user that is not root");

const ca = await readFile("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
await new Promise<void>((resolve, reject) => {
  const request = https.get(
    "https://kubernetes.default.svc/version",
    { ca, timeout: TIMEOUT_MS },
    (response) => {
      response.resume();
      response.on("end", () =>
        response.statusCode === 200
          ? resolve()
          : reject(new Error(`answered ${response.statusCode}`)),
      );
    },
  );
  request.on("timeout", () => request.destroy(new Error("kubernetes.default.svc did not answer")));
  request.on("error", reject);
});
console.log("the API answers at kubernetes.default.svc with a certificate of its authority");
