import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { grantTokenType, type TokenAnswer } from "../../contract/control.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { OperatorRefused, OperatorUnavailable } from "./answers.ts";
import { ManualClock, settled } from "./fixture.ts";
import { HeldGrant } from "./held.ts";

const lifeSeconds = 300;
const never = new AbortController().signal;

const bundle: Bundle = {
  version: 1,
  requires: [],
  generation: "g",
  connection: { namespace: "agents", name: "db", protocol: "postgres" },
  subject: { namespace: "agents", serviceAccount: "a" },
  policies: ["agents/p"],
  observeOnly: false,
  rules: [],
  columnMasks: [],
  detectMasks: [],
  maskKey: "",
  limits: {},
  recording: { detail: "Statements", strict: false, retentionDays: 90 },
  grantTtlSeconds: lifeSeconds,
};

function answer(id: string, overrides: Partial<Bundle> = {}): TokenAnswer {
  return {
    access_token: "t",
    issued_token_type: grantTokenType,
    token_type: "DPoP",
    expires_in: lifeSeconds,
    grant: {
      id,
      connection: bundle.connection,
      endpoint: { host: "db", port: 5432, tls: { mode: "VerifyFull" }, basePath: "" },
      bundle: { ...bundle, ...overrides },
      lease: { kind: "none" },
      // Deliberately nonsense: the proxy counts on its own clock.
      expiresAt: "1999-01-01T00:00:00Z",
    },
  };
}

describe("a held grant", () => {
  let clock: ManualClock;
  let exchanges: number;
  let reply: () => Promise<TokenAnswer>;
  let barred: ProxyError | undefined;
  let changes: string[];
  let held: HeldGrant;
  let onFirst: () => void;

  beforeEach(() => {
    clock = new ManualClock();
    exchanges = 0;
    barred = undefined;
    changes = [];
    onFirst = () => undefined;
    reply = async () => answer(`grant-${exchanges}`);
    held = new HeldGrant({
      connection: "agents/db",
      exchange: () => ((exchanges += 1), reply()),
      clock,
      random: () => 0.5,
      barred: () => barred,
      onChange(live: LiveGrant | undefined, cause?: ProxyError) {
        changes.push(live?.id ?? `${cause?.code}`);
        if (changes.length === 1) onFirst();
      },
    });
  });

  const minute = 60_000;

  it("is asked for on first use, and renewed at two thirds of its life while it is used", async () => {
    assert.equal(held.current(), undefined);
    assert.equal(exchanges, 0);
    await held.acquire(never);
    held.current();
    await clock.advance(200_000 - 1);
    assert.deepEqual(changes, ["grant-1"]);
    await clock.advance(1);
    assert.deepEqual(changes, ["grant-1", "grant-2"]);
  });

  it("is dropped at its end when it was not used again, with no exchange on the way", async () => {
    await held.acquire(never);
    await clock.advance(5 * minute);
    assert.deepEqual([exchanges, changes], [1, ["grant-1", "GrantEnded"]]);
    assert.equal(clock.pending, 0);
  });

  it("is renewed by a use in the last third of its life", async () => {
    await held.acquire(never);
    await clock.advance(4 * minute);
    assert.equal(held.current()?.id, "grant-1");
    await settled();
    assert.equal(held.current()?.id, "grant-2");
  });

  it("is not kept alive by whoever only looks", async () => {
    await held.acquire(never);
    await clock.advance(4 * minute);
    assert.equal(held.peek()?.id, "grant-1");
    await clock.advance(minute);
    assert.deepEqual(changes, ["grant-1", "GrantEnded"]);
  });

  it("is kept alive by an operation that takes long, and no longer than it takes", async () => {
    await held.acquire(never);
    const done = held.keepInUse();
    await clock.advance(20 * minute);
    assert.ok(!changes.includes("GrantEnded"), changes.join());
    done();
    done();
    await clock.advance(6 * minute);
    assert.equal(changes.at(-1), "GrantEnded");
  });

  it("lives to its end while the operator is away, is tried for again and again, and then ends saying so", async () => {
    await held.acquire(never);
    held.current();
    reply = async () => {
      throw new OperatorUnavailable("the operator at https://op cannot be reached (ECONNREFUSED)");
    };
    await clock.advance(5 * minute - 1);
    assert.equal(held.peek()?.id, "grant-1");
    const tries = exchanges;
    assert.ok(tries > 15 && tries < 60, `${tries} exchanges in 100 s`);
    await clock.advance(1);
    assert.deepEqual(changes, ["grant-1", "GrantEnded"]);
    await assert.rejects(held.acquire(never), { code: "ControlPlaneUnavailable" });
    reply = async () => answer("back");
    await clock.advance(minute);
    assert.equal((await held.acquire(never)).id, "back");
  });

  it("ends at once when the operator says no", async () => {
    await held.acquire(never);
    reply = async () => {
      throw new OperatorRefused(400, "invalid_target", "NoPolicy", "no policy lets you");
    };
    held.changed();
    await settled();
    assert.deepEqual(changes, ["grant-1", "GrantRefused"]);
    assert.match(held.refusal?.message ?? "", /no policy lets you/);
  });

  it("remembers a refusal for a moment, so that a loop does not become a flood", async () => {
    reply = async () => {
      throw new OperatorRefused(400, "invalid_target", "NoPolicy", "no");
    };
    for (let i = 0; i < 100; i += 1)
      await assert.rejects(held.acquire(never), { code: "GrantRefused" });
    assert.equal(exchanges, 1);
    reply = async () => answer("now");
    held.changed();
    assert.equal((await held.acquire(never)).id, "now");
  });

  it("asks again when something changed while the answer, or the refusal, was on its way", async () => {
    const first = Promise.withResolvers<TokenAnswer>();
    reply = () => (exchanges === 1 ? first.promise : Promise.resolve(answer("second")));
    const live = held.acquire(never);
    await settled();
    held.changed();
    first.resolve(answer("first"));
    assert.equal((await live).id, "second");
    assert.deepEqual(changes, ["second"]);

    held.end(new ProxyError("GrantEnded", "over"));
    const refused = Promise.withResolvers<TokenAnswer>();
    const from = exchanges;
    reply = () => (exchanges === from + 1 ? refused.promise : Promise.resolve(answer("third")));
    const again = held.acquire(never);
    await settled();
    held.changed();
    refused.reject(new OperatorRefused(400, "invalid_target", "NoPolicy", "no"));
    assert.equal((await again).id, "third");
  });

  it("asks again when the change comes from whoever heard of the new grant", async () => {
    onFirst = () => queueMicrotask(() => held.changed());
    await held.acquire(never);
    await settled();
    assert.deepEqual(changes, ["grant-1", "grant-2"]);
    onFirst = () => held.changed();
    held.end(new ProxyError("GrantEnded", "over"));
    changes.length = 0;
    await held.acquire(never);
    assert.deepEqual(changes, ["grant-3", "grant-4"]);
  });

  it("does not chase an operator that changes for ever", async () => {
    reply = async () => {
      held.changed();
      return answer(`grant-${exchanges}`);
    };
    assert.ok((await held.acquire(never)).id);
    assert.ok(exchanges < 10, String(exchanges));
  });

  it("is refused to a proxy that lacks a feature, and by a bundle that cannot be prepared", async () => {
    reply = async () => answer("new", { requires: ["mask.columns", "teleport"] });
    await assert.rejects(held.acquire(never), {
      code: "ProxyTooOld",
      message: /need teleport, which this proxy does not know/,
    });
    held.changed();
    reply = async () => ({
      ...answer("kind"),
      grant: { ...Object(answer("kind").grant), lease: { kind: "teleport" } },
    });
    await assert.rejects(held.acquire(never), {
      code: "ProxyTooOld",
      message: /credential is of a kind that this proxy does not know/,
    });
    held.changed();
    reply = async () =>
      answer("bad", {
        rules: [{ policy: "agents/p", name: "r", action: "Deny", mode: "Enforce", when: "((" }],
      });
    await assert.rejects(held.acquire(never), {
      code: "GrantRefused",
      message: /cannot be enforced/,
    });
    held.changed();
    reply = async () => ({
      ...answer("x"),
      grant: {
        ...Object(answer("x").grant),
        connection: { namespace: "agents", name: "payroll", protocol: "postgres" },
      },
    });
    await assert.rejects(held.acquire(never), { code: "GrantRefused", message: /something else/ });
  });

  it("is not given while the connection is barred, even when the answer arrives just then", async () => {
    const late = Promise.withResolvers<TokenAnswer>();
    reply = () => late.promise;
    const live = held.acquire(never);
    await settled();
    barred = new ProxyError("Quarantined", "stop");
    late.resolve(answer("late"));
    await assert.rejects(live, { code: "Quarantined" });
    await assert.rejects(held.acquire(never), { code: "Quarantined" });
    assert.deepEqual(changes, []);
  });

  it("is over after a night's sleep although no timer ran", async () => {
    await held.acquire(never);
    const real = clock.now();
    clock.now = () => real + 10 * minute;
    assert.equal(held.current(), undefined);
    assert.equal(held.peek(), undefined);
    assert.deepEqual(changes, ["grant-1", "GrantEnded"]);
  });

  it("leaves no timer behind when it is closed", async () => {
    await held.acquire(never);
    await held.close();
    assert.equal(clock.pending, 0);
  });
});
