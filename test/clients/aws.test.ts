// AWS's own Python client, unmodified and with placeholder keys, against an origin that checks the signatures of the real ones.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { TLSSocket } from "node:tls";
import { awsOrigin, lease, verified } from "../integration/aws-origin.ts";
import { startRoom } from "../integration/http-proxy-fixture.ts";
import { startAuthority } from "../integration/postgres-certificates.ts";
import { pythonPackages, reasonWithoutPython, runPython } from "./python.ts";

const skip = reasonWithoutPython() ?? false;

for (const scheme of ["http", "https"] as const) {
  test(
    `botocore puts, reads and deletes objects through the proxy over ${scheme}`,
    { skip },
    async (t) => {
      const packages = await pythonPackages(["botocore==1.43.11"]);
      const authority = await startAuthority();
      const directory = await mkdtemp(join(tmpdir(), "chaperone-aws-"));
      t.after(async () => {
        await authority.close();
        await rm(directory, { recursive: true, force: true });
      });
      const server = await authority.server();
      const caFile = join(directory, "ca.pem");
      await writeFile(caFile, authority.caPem);
      const target = await awsOrigin(t);
      const room = await startRoom(t, [{ upstream: { port: target.port }, lease }], {
        route: { scheme },
        ...(scheme === "https" && {
          secure: (socket, accept) => {
            const secured = new TLSSocket(socket, {
              isServer: true,
              cert: server.certificatePem,
              key: server.keyPem,
            });
            secured.on("error", () => {});
            secured.once("secure", () => accept(secured));
          },
        }),
      });
      const seen = await runPython(
        "aws_scenes.py",
        [`${scheme}://localhost:${room.port}`, caFile],
        packages,
      );
      assert.deepEqual(seen, [200, 200, 200, 200, 200, "ok", 200]);
      const bodies = target.received.map((one) => verified(one));
      assert.deepEqual(
        bodies.map((body) => [body.length, String.fromCharCode(body[0] ?? 0x2d)]),
        [
          [5, "h"],
          [5, "h"],
          [1_000_000, "x"],
          [300_000, "y"],
          [300_000, "z"],
          [0, "-"],
          [0, "-"],
        ],
      );
      assert.ok(!JSON.stringify(room.events()).includes("session-token"));
    },
  );
}
