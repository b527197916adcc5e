// Go's net/http and Java's HttpClient, unmodified: scene by scene the same through the proxy as straight from the server, under every way in.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { cached } from "../../integration/user-cache.ts";
import { goProgram, installTimeoutMs } from "../cache.ts";
import { javaVersion, reasonWithoutGo, reasonWithoutJavac, skipped } from "../toolchains.ts";
import { probing, sameEveryWay, trustReaches } from "./compare.ts";
import { reasonWithoutNamespaces } from "./container.ts";
import { apiHost } from "./manifests.ts";
import { openHttpRoom, type HttpRoom } from "./room.ts";

const run = promisify(execFile);
const reason = reasonWithoutNamespaces();
const withGo = skipped(reasonWithoutGo() ?? reason);
const withJava = skipped(reasonWithoutJavac() ?? reason);
const probeUrl = `https://${apiHost}`;
let room: HttpRoom;
let go: string;
let classes: string;

before(async () => {
  if (withGo.skip === false) go = await goProgram("nethttp");
  if (withJava.skip === false) classes = await compiled("HttpScenes.java");
  if (withGo.skip === false || withJava.skip === false) room = await openHttpRoom();
});

after(() => room?.close());

/** The folder with the classes of a source beside this file. */
async function compiled(source: string): Promise<string> {
  const file = join(import.meta.dirname, source);
  return cached("java", [javaVersion(), await readFile(file, "utf8")], (folder) =>
    run("javac", ["-encoding", "UTF-8", "-d", folder, file], { timeout: installTimeoutMs }),
  );
}

const java = (...args: readonly string[]): readonly string[] => [
  "java",
  // A JVM for each way at a time, each for a second or two: little heap, no optimising compiler.
  "-Xmx128m",
  "-XX:TieredStopAtLevel=1",
  "-XX:+UseSerialGC",
  "-Xshare:auto",
  "-cp",
  classes,
  "HttpScenes",
  ...args,
];

test("go: every scene ends as it does straight from the server, under every way in", withGo, () =>
  sameEveryWay(room, "go", { command: (way) => [go, way.apiUrl, way.token] }),
);

test(
  "java: every scene ends as it does straight from the server, under every way in",
  withJava,
  () => sameEveryWay(room, "java", { command: (way) => java(way.apiUrl, way.token) }),
);

test("trust reaches Go by the variable listed, and by no other", withGo, () =>
  trustReaches(room, ["go"], ["SSL_CERT_FILE"], probing(room, [go, probeUrl, "", "probe"])),
);

test("trust reaches Java by the variable listed, and by no other", withJava, () =>
  trustReaches(room, ["java"], ["JAVA_TOOL_OPTIONS"], probing(room, java(probeUrl, "", "probe"))),
);

test(
  "keytool reads every certificate of the truststore, with a password and without",
  withJava,
  async () => {
    const bundle = await readFile(join(room.trustDirectory, "ca.crt"), "utf8");
    const certificates = bundle.match(/-----BEGIN CERTIFICATE-----/g)?.length;
    for (const password of ["changeit", ""]) {
      const store = join(room.trustDirectory, "ca.p12");
      const args = ["-list", "-keystore", store, "-storepass", password];
      const { stdout } = await run("keytool", args, { timeout: installTimeoutMs });
      assert.equal(stdout.match(/trustedCertEntry/g)?.length, certificates, stdout);
    }
  },
);
