// h2spec, the conformance suite of HTTP/2, against the listener that agents reach: what it finds is known by name, and nothing else.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { startH2Room } from "../integration/http2-fixture.ts";
import { goInstalled } from "./cache.ts";
import { reasonWithoutGo, skipped } from "./toolchains.ts";

const run = promisify(execFile);
const suiteTimeoutMs = 180_000;
/** Cases that it has; fewer would mean that the suite ended early. */
const cases = 140;

/** h2spec asks for RFC 7540; nghttp2, which frames here, follows RFC 9113. A server of node:http2 alone has the same list. */
const known = new Set([
  // Ignored where RFC 9113 section 5.1 lets an endpoint ignore what comes on streams that are closed.
  "http2/5.1 closed: Sends a DATA frame after sending RST_STREAM frame",
  "http2/5.1 closed: Sends a HEADERS frame after sending RST_STREAM frame",
  "http2/5.1 closed: Sends a DATA frame",
  "http2/5.1 closed: Sends a HEADERS frame",
  "http2/5.1.1 Sends stream identifier that is numerically smaller than previous",
  // Priorities are deprecated (RFC 9113 section 5.3.2) and not looked at.
  "http2/5.3.1 Sends PRIORITY frame that depend on itself",
  "http2/6.3 Sends a PRIORITY frame with 0x0 stream identifier",
  // Stricter than asked: the connection ends.
  "http2/6.7 Sends a PING frame with ACK",
  "http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
]);

/** Seconds that a case waits for an answer. */
const impatient = 2;
const patient = 15;

const casePattern =
  /<testcase package="([^"]+)" classname="([^"]+)"[^>]*>\s*(<(?:error|failure))?/g;

test(
  "h2spec finds nothing but what is known by name",
  { ...skipped(reasonWithoutGo()), timeout: 2 * suiteTimeoutMs },
  async (t) => {
    const origin = createServer((request, response) => {
      request.resume().on("end", () => response.end("ok"));
    });
    origin.listen(0, "127.0.0.1");
    await once(origin, "listening");
    t.after(() => {
      origin.closeAllConnections();
      origin.close();
    });
    const address = origin.address();
    assert.ok(address !== null && typeof address === "object");
    const room = await startH2Room(t, [{ upstream: { port: address.port } }], ["localhost"]);
    const h2spec = await goInstalled(
      "h2spec",
      "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
    );
    const folder = await mkdtemp(join(tmpdir(), "h2spec-"));
    t.after(() => rm(folder, { recursive: true }));
    const report = join(folder, "report.xml");
    const play = async (patience: number, ...sections: readonly string[]): Promise<string[]> => {
      const where = ["-t", "-k", "-h", "localhost", "-p", String(room.port)];
      const args = [...where, "-o", String(patience), "-j", report, ...sections];
      // It ends with 1 when a case failed, which the report says better.
      await run(h2spec, args, { timeout: suiteTimeoutMs }).catch(() => {});
      const played = [...(await readFile(report, "utf8")).matchAll(casePattern)];
      assert.ok(played.length >= (sections.length > 0 ? 1 : cases), `${played.length} played`);
      return played
        .filter(([, , , failure]) => failure !== undefined)
        .map(([, section = "", title = ""]) => `${section} ${title.replaceAll("&#34;", '"')}`)
        .filter((name) => !known.has(name));
    };
    let found = await play(impatient);
    // On a busy machine an answer comes late, and a limit on streams at a time is not met when they are answered as they come.
    for (let again = 0; found.length > 0 && again < 3; again += 1)
      found = await play(patient, ...new Set(found.map((name) => name.split(/[ :]/)[0] ?? "")));
    assert.deepEqual(found, []);
  },
);
