import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { resourceTypes } from "./resource-types.ts";
import { bookmark, event, pod, scriptedApi, type ScriptedApi, type Step } from "./scripted-api.ts";
import { ObjectStore, type StoreChange } from "./store.ts";
import type { KubeObject } from "./objects.ts";

interface Running {
  readonly api: ScriptedApi;
  readonly store: ObjectStore;
  readonly reflector: Reflector<KubeObject>;
  readonly changes: StoreChange<KubeObject>[];
  readonly warnings: Readonly<Record<string, unknown>>[];
  /** Resolves once the condition holds; fails the test after a while. */
  readonly until: (condition: () => boolean) => Promise<void>;
  readonly names: () => string[];
}

async function run(
  t: TestContext,
  lists: Step[],
  watches: Step[],
  options: Partial<ReflectorOptions<KubeObject>> = {},
): Promise<Running> {
  const api = await scriptedApi(lists, watches);
  const changes: StoreChange<KubeObject>[] = [];
  const warnings: Readonly<Record<string, unknown>>[] = [];
  const store = new ObjectStore<KubeObject>({}, (error) => assert.fail(String(error)));
  const waiting = new Set<() => void>();
  const look = (): void => waiting.forEach((check) => check());
  store.onChange((change) => {
    changes.push(change);
    look();
  });
  const reflector = new Reflector<KubeObject>({
    client: api.client,
    type: resourceTypes.Pod,
    store,
    read: (object) => object,
    now: Date.now,
    random: () => 0.5,
    log: { warn: (details) => void warnings.push(details), debug: () => undefined },
    backoff: { firstMs: 10, maxMs: 40 },
    ...options,
  });
  reflector.start();
  t.after(async () => {
    await reflector.close();
    await api.close();
  });
  return {
    api,
    store,
    reflector,
    changes,
    warnings,
    async until(condition) {
      const deadline = Date.now() + 5_000;
      // Conditions also speak of requests, of which nobody tells us.
      const timer = setInterval(look, 10);
      try {
        await new Promise<void>((resolve, reject) => {
          const check = (): void => {
            if (condition()) resolve();
            else if (Date.now() > deadline)
              reject(new Error(`still not so after 5 s; warnings: ${JSON.stringify(warnings)}`));
          };
          waiting.add(check);
          check();
        });
      } finally {
        clearInterval(timer);
        waiting.clear();
      }
    },
    names: () =>
      [...store.values()]
        .map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`)
        .toSorted(),
  };
}

const silent: Step = (answer) => answer.events();
const watchesOf = (api: ScriptedApi): readonly URL[] =>
  api.requests.filter(({ isWatch }) => isWatch).map(({ url }) => url);

test("a collection is listed in pages and watched from the version of the list", async (t) => {
  const { api, until, names, reflector, store } = await run(
    t,
    [
      (answer) => answer.list("10", [pod("a", 3)], "next page"),
      (answer) => answer.list("10", [pod("b", 4)]),
    ],
    [
      (answer) =>
        answer.events(
          event("ADDED", pod("c", 11)),
          event("MODIFIED", pod("a", 12)),
          event("DELETED", pod("b", 13)),
        ),
    ],
  );
  await reflector.synced;
  await until(() => names().join() === "a@12,c@11");
  const [first, second, watch] = api.requests;
  assert.equal(first?.url.searchParams.get("limit"), "500");
  assert.equal(first?.url.searchParams.get("continue"), null);
  assert.equal(second?.url.searchParams.get("continue"), "next page");
  assert.equal(watch?.url.searchParams.get("resourceVersion"), "10");
  assert.equal(watch?.url.searchParams.get("allowWatchBookmarks"), "true");
  assert.ok(Number(watch?.url.searchParams.get("timeoutSeconds")) >= 300);
  assert.equal("managedFields" in (store.get("agents/a")?.metadata ?? {}), false);
  assert.equal(store.get("agents/a")?.kind, "Pod");
});

test("a watch that the server ends goes on from the last event or bookmark, without a new list", async (t) => {
  const { api, until, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      (answer) => {
        answer.events(event("ADDED", pod("a", 11)), bookmark(20));
        answer.end();
      },
      (answer) => answer.events(event("ADDED", pod("b", 21))),
    ],
  );
  await until(() => names().length === 2);
  assert.deepEqual(
    watchesOf(api).map((url) => url.searchParams.get("resourceVersion")),
    ["10", "20"],
  );
  assert.equal(api.requests.length, 3);
});

for (const [how, step] of [
  ["in the answer", (answer) => answer.status(410, "Expired")],
  [
    "as an event",
    (answer) =>
      answer.events(
        event("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" }),
      ),
  ],
] satisfies [string, Step][]) {
  test(`410 ${how} leads to a new list, which tells what went away meanwhile`, async (t) => {
    const { until, names, changes } = await run(
      t,
      [
        (answer) => answer.list("10", [pod("a", 3), pod("b", 4)]),
        (answer) => answer.list("30", [pod("b", 25)]),
      ],
      [step, silent],
    );
    await until(() => names().join() === "b@25");
    assert.deepEqual(
      changes.map(
        ({ key, before, after }) =>
          `${key} ${before === undefined ? "new" : after === undefined ? "gone" : "changed"}`,
      ),
      ["agents/a new", "agents/b new", "agents/a gone", "agents/b changed"],
    );
  });
}

test("410 in the middle of a paged list begins the list again", async (t) => {
  const { api, until, names } = await run(
    t,
    [
      (answer) => answer.list("10", [pod("a", 3)], "page 2"),
      (answer) => answer.status(410, "Expired"),
      (answer) => answer.list("30", [pod("b", 25)]),
    ],
    [silent],
  );
  await until(() => names().join() === "b@25");
  assert.equal(api.requests[2]?.url.searchParams.get("continue"), null);
});

test("429 waits as long as Retry-After says and does not list again", async (t) => {
  const { api, until } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [(answer) => answer.status(429, "TooManyRequests", { "retry-after": "1" }), silent],
  );
  await until(() => watchesOf(api).length === 2);
  const [, refused, again] = api.requests;
  assert.ok(refused !== undefined && again !== undefined);
  assert.ok(again.at - refused.at >= 1_000, `came back after ${again.at - refused.at} ms`);
  assert.equal(api.requests.filter(({ isWatch }) => !isWatch).length, 1);
});

test("a list refused with 429 and 500 and cut off is tried until it works", async (t) => {
  const { reflector, warnings, names } = await run(
    t,
    [
      (answer) => answer.status(429, "TooManyRequests", { "retry-after": "0" }),
      (answer) => answer.status(500, "InternalError"),
      (answer) => answer.destroy(),
      (answer) => answer.list("10", [pod("a", 3)]),
    ],
    [silent],
  );
  await reflector.synced;
  assert.deepEqual(names(), ["a@3"]);
  assert.equal(warnings.length, 3);
});

test("a half-open watch is noticed by its silence and left for another, which goes on where it was", async (t) => {
  const { api, until, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      (answer) => answer.events(event("ADDED", pod("a", 11))),
      (answer) => answer.events(event("ADDED", pod("b", 12))),
    ],
    { idleTimeoutMs: 150 },
  );
  await until(() => names().length === 2);
  assert.equal(watchesOf(api)[1]?.searchParams.get("resourceVersion"), "11");
  assert.equal(api.requests.filter(({ isWatch }) => !isWatch).length, 1);
});

const many = (step: Step): Step[] => Array.from({ length: 100 }, () => step);

test("a server that sends no bookmarks is watched on from the last event, and listed again when that is too old", async (t) => {
  const { api, until, names } = await run(
    t,
    [(answer) => answer.list("10", []), ...many((answer) => answer.list("90", [pod("b", 80)]))],
    // On a busy machine the idle time may be over before an answer is read: the same is said again.
    [silent, ...many((answer) => answer.status(410, "Expired"))],
    { idleTimeoutMs: 100 },
  );
  await until(() => names().join() === "b@80");
  assert.deepEqual(
    watchesOf(api)
      .slice(0, 2)
      .map((url) => url.searchParams.get("resourceVersion")),
    ["10", "10"],
  );
});

test("a line cut in the middle loses nothing: the watch begins again before it", async (t) => {
  const { api, until, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      (answer) => {
        answer.events(event("ADDED", pod("a", 11)));
        answer.raw(JSON.stringify(event("ADDED", pod("b", 12))).slice(0, 40));
        answer.end();
      },
      (answer) => answer.events(event("ADDED", pod("b", 12))),
    ],
  );
  await until(() => names().join() === "a@11,b@12");
  assert.equal(watchesOf(api)[1]?.searchParams.get("resourceVersion"), "11");
});

test("a line that is not JSON ends the watch instead of being skipped", async (t) => {
  const { until, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      (answer) => {
        answer.raw("{]\n");
        answer.events(event("ADDED", pod("b", 12)));
      },
      (answer) => answer.events(event("ADDED", pod("a", 11)), event("ADDED", pod("b", 12))),
    ],
  );
  await until(() => names().join() === "a@11,b@12");
});

test("a connection reset under way is tried again from the last event", async (t) => {
  const { api, until, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      async (answer) => {
        answer.events(event("ADDED", pod("a", 11)));
        await new Promise((resolve) => setTimeout(resolve, 50));
        answer.destroy();
      },
      (answer) => answer.events(event("ADDED", pod("b", 12))),
    ],
  );
  await until(() => names().length === 2);
  assert.equal(watchesOf(api)[1]?.searchParams.get("resourceVersion"), "11");
});

test("an event said twice changes nothing the second time", async (t) => {
  const { until, changes, names } = await run(
    t,
    [(answer) => answer.list("10", [])],
    [
      (answer) =>
        answer.events(
          event("ADDED", pod("a", 11)),
          event("ADDED", pod("a", 11)),
          event("MODIFIED", pod("a", 12)),
          event("MODIFIED", pod("a", 11)),
          event("ADDED", pod("end", 13)),
        ),
    ],
  );
  await until(() => names().includes("end@13"));
  assert.deepEqual(names(), ["a@12", "end@13"]);
  assert.equal(changes.length, 3);
});

test("events out of order are not believed: a new list says what is true", async (t) => {
  const { until, names } = await run(
    t,
    [
      (answer) => answer.list("10", []),
      (answer) => answer.list("20", [pod("a", 11), pod("b", 13), pod("c", 12)]),
    ],
    [
      (answer) =>
        answer.events(
          event("ADDED", pod("a", 11)),
          event("ADDED", pod("b", 13)),
          event("ADDED", pod("c", 12)),
        ),
      silent,
    ],
  );
  await until(() => names().length === 3);
});

test("an old event never brings back what was deleted", async (t) => {
  const { until, names, changes } = await run(
    t,
    [(answer) => answer.list("10", []), (answer) => answer.list("20", [pod("b", 15)])],
    [
      (answer) =>
        answer.events(
          event("ADDED", pod("a", 11)),
          event("DELETED", pod("a", 12)),
          event("ADDED", pod("a", 11)),
        ),
      silent,
    ],
  );
  await until(() => names().join() === "b@15");
  assert.deepEqual(changes.filter(({ key }) => key === "agents/a").length, 2);
});

test("an object of the same name and another uid is told as gone and new", async (t) => {
  const { until, changes } = await run(
    t,
    [
      (answer) => answer.list("10", [pod("a", 3)]),
      (answer) =>
        answer.list("30", [
          { metadata: { name: "a", namespace: "agents", uid: "other", resourceVersion: "25" } },
        ]),
    ],
    [(answer) => answer.status(410, "Expired"), silent],
  );
  await until(() => changes.length === 3);
  assert.equal(changes[1]?.after, undefined);
  assert.equal(changes[2]?.before, undefined);
  assert.equal(changes[2]?.after?.metadata.uid, "other");
});

test("a server that ends every watch at once is not asked in a hot loop", async (t) => {
  const ending: Step = (answer) => {
    answer.events();
    answer.end();
  };
  const { api } = await run(
    t,
    [(answer) => answer.list("10", [])],
    Array.from({ length: 1_000 }, () => ending),
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.ok(
    watchesOf(api).length > 3 && watchesOf(api).length < 60,
    `${watchesOf(api).length} watches in 500 ms`,
  );
});

test("close ends a silent watch at once", async () => {
  const api = await scriptedApi([(answer) => answer.list("10", [])], [silent]);
  const store = new ObjectStore<KubeObject>({}, () => undefined);
  const reflector = new Reflector<KubeObject>({
    client: api.client,
    type: resourceTypes.Pod,
    store,
    read: (object) => object,
    now: Date.now,
    random: Math.random,
    log: { warn: () => undefined, debug: () => undefined },
  });
  reflector.start();
  await reflector.synced;
  const before = Date.now();
  await reflector.close();
  assert.ok(Date.now() - before < 1_000);
  await api.close();
});
