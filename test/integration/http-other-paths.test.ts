// Headers that name a second path: with the Connection's credential an agent could copy what its rules keep from it to where they let it read.
import assert from "node:assert/strict";
import { test } from "node:test";

import { startByteOrigin } from "./http-byte-origin.ts";
import { send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";

const names = ["X-Amz-Copy-Source", "X-Ms-Copy-Source", "X-Goog-Copy-Source", "Destination"];
const about: Readonly<Record<string, Partial<ConnectionSetup>>> = {
  "a rule about paths": { rules: [{ name: "mine", http: { paths: ["/mine/**"] } }] },
  "a condition": { rules: [{ name: "mine", when: 'http.path.startsWith("/mine/")' }] },
};

test("where a rule or the endpoint holds a request to a path, none names a second one", async (t) => {
  const origin = await startByteOrigin();
  t.after(() => origin.close());
  const upstream = { port: origin.port };
  const setups = [...Object.values(about), { upstream: { ...upstream, basePath: "/mine" } }];
  for (const setup of setups) {
    const room = await startRoom(t, [{ upstream, ...setup }]);
    const ask = (headers: Record<string, string>) =>
      send(room, { method: "PUT", path: "/mine/copy", headers });
    for (const name of names) {
      const answer = await ask({ [name]: "/theirs/secret" });
      assert.ok([403, 421].includes(answer.status), `${name}: ${answer.status}`);
      assert.match(answer.text, new RegExp(`${name.toLowerCase()} names another path`));
    }
    assert.equal((await ask({})).status, 200);
  }
  assert.equal(origin.arrived.length, setups.length);
});

test("where nothing hangs on a path such a header passes", async (t) => {
  const origin = await startByteOrigin();
  t.after(() => origin.close());
  const room = await startRoom(t, [{ upstream: { port: origin.port } }]);
  for (const name of names)
    assert.equal((await send(room, { headers: { [name]: "/theirs/secret" } })).status, 200);
  assert.equal(origin.arrived.length, names.length);
});
