// What the audit store promises, whatever database is under it. Run for SQLite and for PostgreSQL.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { sql } from "kysely";
import { canonicalJson, sha256 } from "../../contract/canonical.ts";
import {
  hashHeader,
  type IngestRefusal,
  IngestRefused,
  maxBatchEvents,
  startOf,
} from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { SubjectNotOwn } from "../../operator/audit/check.ts";
import type { Arrival } from "../../operator/audit/ingest.ts";
import { createAuditReader } from "../../operator/audit/queries.ts";
import { prune } from "../../operator/audit/retention.ts";
import type { AuditStore } from "../../operator/audit/store.ts";
import { denied, firstTime, Recorder, statement, subject } from "./audit-recorder.ts";

/** The second of three lines with another body, and every hash and link made again for it: as a proxy would that means it. */
function rehashed(lines: string, change: (body: string) => string): string {
  let prev = startOf("").hash;
  return lines
    .trimEnd()
    .split("\n")
    .map((line, index) => {
      const { header, body, contents } = JSON.parse(line) as Record<string, object>;
      const given = canonicalJson(body);
      const text = index === 1 ? change(given) : given;
      const made = canonicalJson({ ...header, prev, bodyHash: sha256(text) });
      prev = sha256(made);
      const texts = contents === undefined ? "" : `,"contents":${JSON.stringify(contents)}`;
      return `{"header":${made},"hash":"${prev}","body":${text}${texts}}\n`;
    })
    .join("");
}

export function storeSuite(name: string, open: () => Promise<AuditStore>): void {
  describe(name, () => {
    let store: AuditStore;
    let streams = 0;
    before(async () => {
      store = await open();
    });
    after(async () => {
      await store.close();
    });

    const newStream = (): string => `agents/pod-${(streams += 1)}/uid-${streams}`;
    const eventsOf = async (stream: string): Promise<readonly StoredEvent[]> => {
      const { events } = await createAuditReader(store.db).events({ limit: 1_000, after: 0 });
      return events.filter((event) => event.header.stream === stream);
    };
    const refusalOf = async (batch: Arrival): Promise<IngestRefusal> => {
      try {
        await store.ingest(batch);
      } catch (error) {
        if (error instanceof IngestRefused) return error.refusal;
        throw error;
      }
      throw new assert.AssertionError({ message: "the batch was taken" });
    };

    test("a batch is stored and comes back exactly as it was recorded", async () => {
      const recorder = new Recorder(newStream()).add(
        {},
        { contents: [{ part: "rows", text: "zw\u00f6lf \u0000 \u{1f600}\n\\ % _" }] },
        { type: "session-end", body: { session: "s1", subject } },
      );
      assert.deepEqual(await store.ingest(recorder.batch()), { acknowledged: 3 });
      assert.deepEqual(await eventsOf(recorder.stream), recorder.batch().events);
      const { contents } = await createAuditReader(store.db).recording("s1", false);
      assert.equal(
        contents.find((content) => content.part === "rows")?.text,
        "zw\u00f6lf \u0000 \u{1f600}\n\\ % _",
      );
    });

    test("repeated and overlapping batches change nothing, sessions included", async () => {
      const recorder = new Recorder(newStream());
      for (let n = 0; n < 6; n += 1)
        recorder.add({
          body: statement("repeated", `SELECT ${n}`),
          contents: [{ part: "rows", text: `${n}` }],
        });
      await store.ingest(recorder.batch(1, 4));
      assert.deepEqual(await store.ingest(recorder.batch(1, 4)), { acknowledged: 4 });
      assert.deepEqual(await store.ingest(recorder.batch(2, 6)), { acknowledged: 6 });
      assert.deepEqual(await store.ingest(recorder.batch(1, 2)), { acknowledged: 6 });
      assert.deepEqual(await eventsOf(recorder.stream), recorder.batch().events);
      assert.equal((await createAuditReader(store.db).session("repeated"))?.operations, 6);
    });

    test("an empty batch asks where the stream stands", async () => {
      const recorder = new Recorder(newStream()).add({}, {});
      await store.ingest(recorder.batch());
      assert.deepEqual(
        await store.ingest({ stream: recorder.stream, events: [], contents: [], head: "" }),
        { acknowledged: 2 },
      );
      assert.deepEqual(
        await store.ingest({ stream: newStream(), events: [], contents: [], head: "" }),
        { acknowledged: 0 },
      );
    });

    test("a missing range is refused with the number that is expected, and remembered as a problem", async () => {
      const recorder = new Recorder(newStream()).add({}, {}, {}, {}, {});
      await store.ingest(recorder.batch(1, 2));
      const refusal = await refusalOf(recorder.batch(4, 5));
      assert.deepEqual(
        [refusal.code, refusal.expected, refusal.stream],
        ["SequenceGap", 3, recorder.stream],
      );
      await refusalOf(recorder.batch(4, 5));
      const problem = (await createAuditReader(store.db).problems()).find(
        (one) => one.stream === recorder.stream,
      );
      assert.deepEqual([problem?.code, problem?.expected, problem?.times], ["SequenceGap", 3, 2]);
      assert.deepEqual(await store.ingest(recorder.batch(3, 5)), { acknowledged: 5 });
    });

    test("other events under numbers that are taken are refused as a conflict", async () => {
      const stream = newStream();
      const recorder = new Recorder(stream).add({}, {});
      await store.ingest(recorder.batch());
      const other = new Recorder(stream).add({ body: statement("s1", "SELECT 2") }, {}, {});
      assert.deepEqual(
        [(await refusalOf(other.batch())).code, (await refusalOf(other.batch())).expected],
        ["StreamConflict", 3],
      );
      assert.equal((await refusalOf(other.batch(3, 3))).code, "StreamConflict");
      assert.deepEqual(await eventsOf(stream), recorder.batch().events);
    });

    test("only a successor stream may start at another number, and only at the start of a chain", async () => {
      const stream = newStream();
      const late = { seq: 20, hash: startOf("").hash };
      const plain = new Recorder(stream, { stream, ...late }).add({});
      assert.deepEqual(
        [(await refusalOf(plain.batch())).code, (await refusalOf(plain.batch())).expected],
        ["SequenceGap", 1],
      );
      const successor = new Recorder(`${stream}.1`, { stream: `${stream}.1`, ...late }).add({}, {});
      assert.deepEqual(await store.ingest(successor.batch()), { acknowledged: 22 });
      const hiding = new Recorder(`${stream}.2`, {
        stream: `${stream}.2`,
        seq: 20,
        hash: sha256("x"),
      }).add({});
      assert.equal((await refusalOf(hiding.batch())).code, "SequenceGap");
    });

    const alterations: Record<string, [IngestRefusal["code"], (batch: EventBatch) => unknown]> = {
      "a changed body": [
        "AlteredEvent",
        ({ events }) => ({
          events: events.map((event) => ({ ...event, body: { ...event.body, session: "other" } })),
        }),
      ],
      "a changed header": [
        "AlteredEvent",
        ({ events }) => ({
          events: events.map((event) => ({
            ...event,
            header: { ...event.header, type: "intent" },
          })),
        }),
      ],
      "a hole between events": [
        "AlteredEvent",
        ({ events }) => ({ events: events.toSpliced(1, 1) }),
      ],
      "an event of another stream": ["AlteredEvent", () => ({ stream: "agents/other/1" })],
      "a changed text": [
        "AlteredContent",
        ({ contents }) => ({
          contents: contents.map((content) => ({ ...content, text: `${content.text}!` })),
        }),
      ],
      "a missing text": ["AlteredContent", () => ({ contents: [] })],
      "a text nobody refers to": [
        "AlteredContent",
        ({ contents }) => ({
          contents: [
            ...contents,
            { session: "s1", seq: 2, part: "rows", sha256: sha256("x"), text: "x" },
          ],
        }),
      ],
      "a text of another session": [
        "AlteredContent",
        ({ contents }) => ({
          contents: contents.map((content) => ({ ...content, session: "s2" })),
        }),
      ],
      "no events member": ["MalformedBatch", () => ({ events: undefined })],
      "a number that is none": [
        "MalformedBatch",
        ({ events }) => ({
          events: events.map((event) => ({ ...event, header: { ...event.header, seq: "1" } })),
        }),
      ],
      "a time that is none": [
        "MalformedBatch",
        ({ events }) => ({
          events: events.map((event) => ({ ...event, header: { ...event.header, time: "now" } })),
        }),
      ],
      "a body that shadows the header": [
        "MalformedBatch",
        ({ events }) => ({
          events: events.map((event) => ({ ...event, body: { ...event.body, stream: "x" } })),
        }),
      ],
      "a head that is no signature": ["MalformedBatch", () => ({ head: "\0" })],
      "a text of an unknown part": [
        "AlteredContent",
        ({ contents }) => ({
          contents: contents.map((content) => ({ ...content, part: "other" })),
        }),
      ],
      "a stream name with a line feed": [
        "MalformedBatch",
        ({ events }) => ({
          events: events.map((event) => ({
            ...event,
            header: { ...event.header, stream: "a\nb" },
          })),
        }),
      ],
    };
    for (const [what, [code, alter]] of Object.entries(alterations)) {
      test(`a batch with ${what} is refused and leaves nothing behind`, async () => {
        const recorder = new Recorder(newStream()).add(
          { contents: [{ part: "request", text: "hello" }] },
          { body: statement("s1", "SELECT 2") },
          {},
        );
        const altered = {
          ...recorder.batch(),
          ...(alter(recorder.batch()) as Partial<EventBatch>),
        };
        assert.equal((await refusalOf(altered)).code, code);
        assert.deepEqual(await eventsOf(recorder.stream), []);
        assert.deepEqual(await store.ingest(recorder.batch()), { acknowledged: 3 });
      });
    }

    test("a delivery as it came is stored as its records say, texts and all, and repeating it changes nothing", async () => {
      const recorder = new Recorder(newStream()).add(
        { body: statement("wire", "SELECT 'zw\u00f6lf \\ud83d \u{1f600}'") },
        {
          body: statement("wire", "SELECT 2"),
          contents: [
            { part: "request", text: "zw\u00f6lf \u0000\n" },
            { part: "rows", text: "x".repeat(10_000) },
          ],
        },
        { type: "session-end", body: { session: "wire", subject } },
      );
      const given = { ...recorder.delivery(), subject };
      assert.deepEqual(await store.ingest(given), { acknowledged: 3 });
      assert.deepEqual(await store.ingest(given), { acknowledged: 3 });
      assert.deepEqual(await eventsOf(recorder.stream), recorder.batch().events);
      const { contents } = await createAuditReader(store.db).recording("wire", false);
      assert.deepEqual(contents, recorder.batch().contents);
      const [verdict] = await createAuditReader(store.db).verify(recorder.stream);
      assert.deepEqual([verdict?.ok, verdict?.events], [true, 3]);
    });

    const rewritten: Record<string, [IngestRefusal["code"], (lines: string) => string]> = {
      "a changed body": ["AlteredEvent", (lines) => lines.replace("SELECT 2", "SELECT 3")],
      "a changed header": [
        "AlteredEvent",
        (lines) => lines.replace('"type":"operation"', '"type":"intent"'),
      ],
      "a body that is hashed but not in canonical form": [
        "AlteredEvent",
        (lines) => rehashed(lines, (body) => body.replace('{"connection":', '{ "connection":')),
      ],
      "a body that names a member twice": [
        "AlteredEvent",
        (lines) => rehashed(lines, (body) => body.replace("{", '{"session":"s0",')),
      ],
      "a body whose members are out of order": [
        "AlteredEvent",
        (lines) =>
          rehashed(lines, (body) =>
            JSON.stringify(Object.fromEntries(Object.entries(Object(JSON.parse(body))).reverse())),
          ),
      ],
      "a body that is no object": [
        "MalformedBatch",
        (lines) => rehashed(lines, (body) => `[${body}]`),
      ],
      "a line that is no JSON": ["MalformedBatch", (lines) => `${lines}{"header":\n`],
      "an empty line": ["MalformedBatch", (lines) => lines.replace("\n", "\n\n")],
      "a header with another member": [
        "MalformedBatch",
        (lines) => lines.replace('{"header":{', '{"header":{"more":1,'),
      ],
      "a changed text": ["AlteredContent", (lines) => lines.replace('"hello"', '"hallo"')],
      "a text of another part": [
        "AlteredContent",
        (lines) => lines.replace('"contents":[{"part":"request"', '"contents":[{"part":"rows"'),
      ],
      "no texts": ["AlteredContent", (lines) => lines.replace(/,"contents":\[.*?\]\}\n/, "}\n")],
      "texts that are no list": [
        "MalformedBatch",
        (lines) => lines.replace(/"contents":\[.*?\]\}\n/, '"contents":{}}\n'),
      ],
    };
    for (const [what, [code, rewrite]] of Object.entries(rewritten)) {
      test(`a delivery with ${what} is refused and leaves nothing behind`, async () => {
        const recorder = new Recorder(newStream()).add(
          { contents: [{ part: "request", text: "hello" }] },
          { body: statement("s1", "SELECT 2") },
          {},
        );
        const given = recorder.delivery();
        const lines = Buffer.from(given.lines).toString();
        const changed = rewrite(lines);
        assert.notEqual(changed, lines);
        assert.equal((await refusalOf({ ...given, lines: Buffer.from(changed) })).code, code);
        assert.deepEqual(await eventsOf(recorder.stream), []);
        assert.deepEqual(await store.ingest(given), { acknowledged: 3 });
      });
    }

    test("more events than a batch may carry are refused before they are looked at", async () => {
      const recorder = new Recorder(newStream());
      const lines = Buffer.from("x\n".repeat(maxBatchEvents + 1));
      const refusal = await refusalOf({ stream: recorder.stream, head: "", lines });
      assert.equal(refusal.code, "MalformedBatch");
      assert.match(
        refusal.message,
        new RegExp(`at most ${maxBatchEvents} events, this one ${maxBatchEvents + 1}$`),
      );
    });

    test("a delivery that speaks of another subject than its own is refused alone, and leaves nothing behind", async () => {
      const own = new Recorder(newStream()).add({}, {});
      const foreign = new Recorder(newStream()).add({}, { body: statement("s1", "SELECT 1") });
      const other = { ...subject, podUid: "another" };
      const [taken, refused] = await Promise.allSettled([
        store.ingest({ ...own.delivery(), subject }),
        store.ingest({ ...foreign.delivery(), subject: other }),
      ]);
      assert.equal(taken?.status, "fulfilled");
      assert.ok(refused?.status === "rejected" && refused.reason instanceof SubjectNotOwn);
      assert.match(refused.reason.message, /event 1 names another subject/);
      assert.deepEqual(await eventsOf(foreign.stream), []);
      assert.equal((await eventsOf(own.stream)).length, 2);
    });

    test("whatever is delivered, in whatever order, every event is stored once and the chain holds", async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 })), {
            maxLength: 12,
          }),
          async (deliveries) => {
            const recorder = new Recorder(newStream());
            for (let n = 0; n < 12; n += 1)
              recorder.add({ body: statement(`session of ${recorder.stream}`, `SELECT ${n}`) });
            let stored = 0;
            for (const [one, other] of deliveries) {
              const [from, to] = [Math.min(one, other), Math.max(one, other)];
              const delivered = await store
                .ingest(recorder.batch(from, to))
                .catch((error: unknown) => {
                  assert.ok(error instanceof IngestRefused);
                  assert.deepEqual(
                    [error.refusal.code, error.refusal.expected],
                    ["SequenceGap", stored + 1],
                  );
                });
              if (delivered !== undefined) {
                stored = Math.max(stored, to);
                assert.equal(delivered.acknowledged, stored);
              }
            }
            await store.ingest(recorder.batch());
            const [verdict] = await createAuditReader(store.db).verify(recorder.stream);
            assert.deepEqual([verdict?.ok, verdict?.events], [true, 12]);
            assert.equal(
              (await createAuditReader(store.db).session(`session of ${recorder.stream}`))
                ?.operations,
              12,
            );
          },
        ),
        { numRuns: 15 },
      );
    });

    test("a follower sees every event once, in order of its cursor, while several proxies deliver", async () => {
      const reader = createAuditReader(store.db);
      let { cursor } = await reader.events({ limit: 0 });
      const recorders = Array.from({ length: 8 }, () => new Recorder(newStream()));
      for (const recorder of recorders) for (let n = 0; n < 30; n += 1) recorder.add({});
      let delivering = true;
      const delivered = Promise.all(
        recorders.map(async (recorder) => {
          for (let from = 1; from <= 30; from += 5)
            await store.ingest(recorder.batch(from, from + 4));
        }),
      ).finally(() => {
        delivering = false;
      });
      const seen: string[] = [];
      for (let more = true; more;) {
        more = delivering;
        const page = await reader.events({ limit: 50, after: cursor });
        assert.ok(page.cursor >= cursor);
        cursor = page.cursor;
        seen.push(...page.events.map((event) => `${event.header.stream} ${event.header.seq}`));
        more ||= page.events.length > 0;
      }
      await delivered;
      assert.equal(new Set(seen).size, seen.length);
      assert.deepEqual(
        seen.toSorted(),
        recorders
          .flatMap((recorder) =>
            recorder.records.map(({ event }) => `${recorder.stream} ${event.header.seq}`),
          )
          .sort(),
      );
    });

    test("a session is summed up over the batches it arrives in", async () => {
      const recorder = new Recorder(newStream()).add(
        {
          type: "session-start",
          body: {
            session: "summed",
            subject: { ...subject, chain: "first" },
            connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
          },
        },
        {
          body: statement("summed", "SELECT 1", {
            outcome: { status: "ok", masked: { columns: ["public.customers.ssn"] } },
          }),
        },
        { body: denied("summed", "DROP TABLE orders") },
        { type: "intent", body: statement("summed", "UPDATE orders") },
        {
          body: statement("summed", "UPDATE orders", {
            decision: {
              verdict: "hold",
              policy: "agents/p",
              rule: "r",
              reason: "RuleMatched",
              message: "m",
              mode: "Enforce",
            },
            outcome: { status: "pending" },
          }),
        },
        { type: "session-end", body: { session: "summed", subject } },
      );
      await store.ingest(recorder.batch(1, 2));
      assert.equal((await createAuditReader(store.db).session("summed"))?.ended, false);
      await store.ingest(recorder.batch(3, 6));
      assert.deepEqual(await createAuditReader(store.db).session("summed"), {
        id: "summed",
        namespace: "agents",
        serviceAccount: "invoice-agent",
        pod: "invoice-7c9d",
        podUid: "6f1c",
        chain: "summarise",
        connection: "agents/orders-db",
        protocol: "postgres",
        started: "2026-11-20T10:00:00.000Z",
        last: "2026-11-20T10:00:00.005Z",
        ended: true,
        operations: 3,
        denied: 1,
        held: 1,
        masked: 1,
      });
      const all = await createAuditReader(store.db).sessions({ limit: 1_000 });
      assert.ok(all.some((session) => session.id === "summed"));
      assert.deepEqual(
        all.map((session) => session.last),
        all.map((session) => session.last).toSorted(),
        "newest last",
      );
    });

    test("events are found by session, verdict, type, connection, subject, chain, policy, rule and text", async () => {
      const stream = newStream();
      const own = (summary: string): ReturnType<typeof statement> =>
        statement(`find ${stream}`, summary, {
          subject: { ...subject, serviceAccount: "finder", pod: "finder-1" },
        });
      await store.ingest(
        new Recorder(stream)
          .add(
            {
              type: "session-start",
              body: {
                session: `find ${stream}`,
                subject: { ...subject, serviceAccount: "finder", pod: "finder-1" },
              },
            },
            { body: own("SELECT 1") },
            {
              body: {
                ...denied(`find ${stream}`, "DROP TABLE x"),
                subject: { ...subject, serviceAccount: "finder", pod: "finder-1" },
              },
            },
            {
              body: own("SELECT 3"),
              contents: [{ part: "response", text: 'said "100% of a_b\\c"\nGr\u00fc\u00dfe' }],
            },
          )
          .batch(),
      );
      const reader = createAuditReader(store.db);
      const session = `find ${stream}`;
      const seqs = async (query: object): Promise<readonly number[]> =>
        (await reader.events({ limit: 100, session, ...query })).events.map(
          (event) => event.header.seq,
        );
      const table: [object, readonly number[]][] = [
        [{}, [1, 2, 3, 4]],
        [{ limit: 2 }, [3, 4]],
        [{ after: 0, limit: 2 }, [1, 2]],
        [{ verdict: "deny" }, [3]],
        [{ type: "session-start" }, [1]],
        [{ connection: "agents/orders-db" }, [2, 3, 4]],
        [{ connection: "orders-db" }, [2, 3, 4]],
        [{ connection: "orders" }, []],
        [{ connection: "%" }, []],
        [{ subject: "finder" }, [1, 2, 3, 4]],
        [{ subject: "finder-1" }, [1, 2, 3, 4]],
        [{ chain: "summarise" }, [1, 2, 3, 4]],
        [{ policy: "agents/invoice-agent", rule: "never-destroy" }, [3]],
        [{ namespace: "elsewhere" }, []],
        [{ text: "drop table" }, [3]],
        [{ text: '"100% OF A_B\\c"\nGr\u00fc\u00dfe' }, [4]],
        [{ text: "100%of" }, []],
        [{ text: "aXb" }, []],
      ];
      for (const [query, expected] of table)
        assert.deepEqual(await seqs(query), expected, JSON.stringify(query));
    });

    test("a recording holds one session, or everything its pod did in the same run", async () => {
      const pod = { ...subject, podUid: `run-of-${name}` };
      const model = (session: string, summary: string): ReturnType<typeof statement> =>
        statement(session, summary, {
          subject: pod,
          connection: { namespace: "agents", name: "openai", protocol: "openai" },
          operation: { kind: "llm", summary },
        });
      const tool = (session: string, summary: string): ReturnType<typeof statement> =>
        statement(session, summary, { subject: pod });
      await store.ingest(
        new Recorder(newStream())
          .add(
            {
              body: model("run-a", "chat 1"),
              at: 0,
              contents: [{ part: "request", text: "how many?" }],
            },
            { body: tool("run-b", "SELECT 1"), at: 2_000 },
            {
              type: "grant",
              body: { subject: pod, grant: { id: "g", expiresAt: "2026-11-20T10:05:00.000Z" } },
              at: 3_000,
            },
            { body: model("run-c", "chat 2"), at: 50_000 },
            { body: tool("run-d", "SELECT 2"), at: 3_600_000 },
          )
          .batch(),
      );
      const reader = createAuditReader(store.db);
      const one = await reader.recording("run-a", false);
      assert.deepEqual(
        one.events.map((event) => event.body.operation?.summary),
        ["chat 1"],
      );
      const whole = await reader.recording("run-b", true);
      assert.deepEqual(
        whole.events.map((event) => event.body.operation?.summary ?? event.header.type),
        ["chat 1", "SELECT 1", "grant", "chat 2"],
      );
      assert.deepEqual(
        whole.contents.map((content) => [content.session, content.seq, content.text]),
        [["run-a", 1, "how many?"]],
      );
      assert.deepEqual(await reader.recording("no such session", true), {
        events: [],
        contents: [],
      });
    });

    test("retention deletes bodies and texts, and the chain still holds", async () => {
      const recorder = new Recorder(newStream());
      for (let n = 0; n < 5; n += 1)
        recorder.add({
          body: statement(`kept ${recorder.stream}`, `SELECT ${n}`, {
            decision: {
              verdict: "allow",
              policy: `agents/${recorder.stream}`,
              rule: "r",
              reason: "RuleMatched",
              message: "m",
              mode: "Enforce",
            },
          }),
          contents: [{ part: "rows", text: `secret row ${n}` }],
          at: n * 1_000,
        });
      await store.ingest(recorder.batch());
      const before = new Date(firstTime + 3_000).toISOString();
      assert.equal(
        await prune(store.db, { before, policy: `agents/${recorder.stream}`, now: before }),
        3,
      );
      const reader = createAuditReader(store.db);
      const [verdict] = await reader.verify(recorder.stream);
      assert.deepEqual([verdict?.ok, verdict?.events, verdict?.pruned], [true, 5, 3]);
      assert.deepEqual(
        (await eventsOf(recorder.stream)).map((event) => event.hash),
        recorder.records.map(({ event }) => event.hash),
      );
      assert.deepEqual(
        (
          await reader.events({ limit: 10, text: "secret row", session: `kept ${recorder.stream}` })
        ).events.map((event) => event.header.seq),
        [4, 5],
      );
    });

    const tampering: Record<
      string,
      [kind: string, seq: number, (stream: string) => Promise<unknown>]
    > = {
      "a body": [
        "altered-body",
        3,
        (stream) =>
          sql`update event_bodies set body = replace(body, 'SELECT 3', 'SELECT 9') where id = ${idOf(stream, 3)}`.execute(
            store.db,
          ),
      ],
      "a body into no JSON": [
        "altered-body",
        3,
        (stream) =>
          sql`update event_bodies set body = 'x' where id = ${idOf(stream, 3)}`.execute(store.db),
      ],
      "a time": [
        "altered-header",
        3,
        (stream) =>
          sql`update event_headers set time = '2026-11-20T11:00:00.000Z' where stream = ${stream} and seq = 3`.execute(
            store.db,
          ),
      ],
      "a hash": [
        "altered-header",
        3,
        (stream) =>
          sql`update event_headers set hash = ${sha256("x")} where stream = ${stream} and seq = 3`.execute(
            store.db,
          ),
      ],
      "a number": [
        "altered-header",
        9,
        (stream) =>
          sql`update event_headers set seq = 9 where stream = ${stream} and seq = 5`.execute(
            store.db,
          ),
      ],
      "a deleted event": [
        "gap",
        3,
        (stream) =>
          sql`delete from event_headers where stream = ${stream} and seq = 3`.execute(store.db),
      ],
      "a deleted first event": [
        "gap",
        1,
        (stream) =>
          sql`delete from event_headers where stream = ${stream} and seq = 1`.execute(store.db),
      ],
      "a deleted last event": [
        "gap",
        5,
        (stream) =>
          sql`delete from event_headers where stream = ${stream} and seq = 5`.execute(store.db),
      ],
      "a deleted stream, whose note was deleted too": [
        "gap",
        1,
        async (stream) => {
          await sql`delete from event_headers where stream = ${stream}`.execute(store.db);
          await sql`delete from streams where stream = ${stream}`.execute(store.db);
        },
      ],
      "a deleted body": [
        "missing-body",
        3,
        (stream) => sql`delete from event_bodies where id = ${idOf(stream, 3)}`.execute(store.db),
      ],
      "a text": [
        "altered-content",
        2,
        (stream) =>
          sql`update contents set text = '"other"' where event_id = ${idOf(stream, 2)}`.execute(
            store.db,
          ),
      ],
      "a deleted text": [
        "missing-content",
        2,
        (stream) => sql`delete from contents where event_id = ${idOf(stream, 2)}`.execute(store.db),
      ],
      "the last event, its hash recomputed and noted": [
        "head-mismatch",
        5,
        async (stream) => {
          const last = (await eventsOf(stream)).find((event) => event.header.seq === 5);
          assert.ok(last !== undefined);
          const header = { ...last.header, time: "2026-11-20T11:00:00.000Z" };
          await sql`update event_headers set time = ${header.time}, hash = ${hashHeader(header)} where stream = ${stream} and seq = 5`.execute(
            store.db,
          );
          await sql`update streams set hash = ${hashHeader(header)} where stream = ${stream}`.execute(
            store.db,
          );
        },
      ],
      "the whole end, recomputed wherever the hash stands, except what the proxy signed": [
        "head-mismatch",
        5,
        async (stream) => {
          const last = (await eventsOf(stream)).find((event) => event.header.seq === 5);
          assert.ok(last !== undefined);
          const header = { ...last.header, time: "2026-11-20T11:00:00.000Z" };
          for (const table of ["streams", "checkpoints"])
            await sql`update ${sql.table(table)} set hash = ${hashHeader(header)} where stream = ${stream}`.execute(
              store.db,
            );
          await sql`update event_headers set time = ${header.time}, hash = ${hashHeader(header)} where stream = ${stream} and seq = 5`.execute(
            store.db,
          );
        },
      ],
    };
    const idOf = (stream: string, seq: number) =>
      sql`(select id from event_headers where stream = ${stream} and seq = ${seq})`;
    for (const [what, [kind, seq, tamper]] of Object.entries(tampering)) {
      test(`verification names the place of tampering with ${what}`, async () => {
        const recorder = new Recorder(newStream());
        for (let n = 1; n <= 5; n += 1)
          recorder.add({
            body: statement("s1", `SELECT ${n}`),
            contents: n === 2 ? [{ part: "rows", text: "two" }] : [],
          });
        const untouched = new Recorder(newStream()).add({}, {});
        await store.ingest(recorder.batch());
        await store.ingest(untouched.batch());
        const reader = createAuditReader(store.db);
        assert.equal((await reader.verify(recorder.stream))[0]?.ok, true);
        await tamper(recorder.stream);
        const verdicts = await reader.verify();
        const verdict = verdicts.find((one) => one.stream === recorder.stream);
        assert.deepEqual(
          [verdict?.ok, verdict?.fault?.kind, verdict?.fault?.seq],
          [false, kind, seq],
          verdict?.fault?.message,
        );
        assert.equal(verdicts.find((one) => one.stream === untouched.stream)?.ok, true);
      });
    }

    test("as many events as a batch may carry, each of a session of its own and with texts, are taken at once", async () => {
      const recorder = new Recorder(newStream());
      for (let n = 1; n <= maxBatchEvents; n += 1)
        recorder.add({
          body: statement(`${recorder.stream} ${n}`, `SELECT ${n}`),
          contents: [
            { part: "request", text: `SELECT ${n}` },
            { part: "rows", text: "öäü\n".repeat(n % 50) },
          ],
        });
      assert.deepEqual(await store.ingest(recorder.delivery()), { acknowledged: maxBatchEvents });
      assert.deepEqual(await store.ingest(recorder.delivery()), { acknowledged: maxBatchEvents });
      const reader = createAuditReader(store.db);
      const { contents } = await reader.recording(
        `${recorder.stream} ${maxBatchEvents - 1}`,
        false,
      );
      assert.equal(contents.length, 2);
      const [verified] = (await reader.verify()).filter(({ stream }) => stream === recorder.stream);
      assert.deepEqual([verified?.ok, verified?.events], [true, maxBatchEvents]);
    });
  });
}
