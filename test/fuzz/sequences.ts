// Random protocol sequences: what drivers do, what they could do, and what only an attacker does.
import fc from "fast-check";
import { copyStatements, script, statement } from "./statements.ts";
import type { FuzzCase, Step } from "./steps.ts";

const name = fc.constantFrom("", "", "", "a", "b");
const target = fc.constantFrom("S" as const, "P" as const);

const value = fc.constantFrom(null, "1", "42", "text", "ü", "", "\\x00000007", "\\x", "\\xff00");
const types = fc.constantFrom<readonly number[]>([], [], [23], [23, 23], [25], [0, 25], [99_999]);

const query = script.map((sql): Step => ({ op: "query", sql }));
const parse = fc
  .tuple(name, statement, types)
  .map(([to, sql, of]): Step => ({ op: "parse", name: to, sql, types: of }));
const bind: fc.Arbitrary<Step> = fc
  .tuple(
    name,
    name,
    fc.array(value, { maxLength: 2 }),
    fc.constantFrom(undefined, undefined, 0, 1),
    fc.constantFrom<readonly number[]>([], [], [0], [1], [0, 1]),
  )
  .map(([portal, of, values, format, results]) => ({
    op: "bind",
    portal,
    name: of,
    values,
    results,
    ...(format === undefined ? {} : { format }),
  }));
const execute = fc
  .tuple(name, fc.constantFrom(0, 0, 0, 1, 2, 50, -1, 2 ** 31 - 1))
  .map(([portal, rows]): Step => ({ op: "execute", portal, rows }));
const describe = fc
  .tuple(fc.constantFrom("describe" as const, "describe" as const, "close" as const), target, name)
  .map(([op, kind, of]): Step => ({ op, kind, name: of }));
const plain = (op: "sync" | "flush" | "copyDone" | "wait"): fc.Arbitrary<Step> =>
  fc.constant({ op });

const copyRow = fc.constantFrom(
  "7\tseven\n",
  "8\t\\N\n",
  "9,neun,1.5,\n",
  "x\tno number\n",
  "10\tt",
  "en\n",
  "\\.\n",
  "1\tdouble key\n",
  "\xff\xfe\t\n",
  "",
);
const copyData = fc.oneof(
  { weight: 9, arbitrary: copyRow.map((data): Step => ({ op: "copyData", data })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Step>(
      { op: "copyData", data: "z", times: 70_000 },
      { op: "copyData", data: "11\tmany\n", times: 9_000 },
    ),
  },
);
const copyFail = fc.constant<Step>({ op: "copyFail", data: "no more" });

/** A COPY with its data and its end. */
const copyIn: fc.Arbitrary<Step[]> = fc
  .tuple(
    copyStatements,
    fc.boolean(),
    fc.array(copyData, { maxLength: 4 }),
    fc.constantFrom<readonly Step[]>(
      [{ op: "copyDone" }],
      [{ op: "copyDone" }, { op: "sync" }],
      [{ op: "copyFail", data: "stop" }],
      [{ op: "flush" }, { op: "copyDone" }],
    ),
  )
  .map(([sql, extended, rows, end]) => [
    ...(extended
      ? ([
          { op: "parse", name: "", sql },
          { op: "bind", portal: "", name: "" },
          { op: "execute", portal: "", rows: 0 },
          { op: "sync" },
        ] as const)
      : [{ op: "query", sql } as const]),
    ...rows,
    ...end,
  ]);

/** What a driver sends for one statement. */
const whole: fc.Arbitrary<Step[]> = fc
  .tuple(name, statement, bind, execute, fc.constantFrom("S", "P", "none"), fc.boolean())
  .map(([to, sql, bound, run, described, synced]) => {
    const portal = bound.op === "bind" ? bound.portal : "";
    return [
      { op: "parse", name: to, sql },
      ...(described === "S" ? [{ op: "describe", kind: "S", name: to } as const] : []),
      { ...bound, name: to, values: [] },
      ...(described === "P" ? [{ op: "describe", kind: "P", name: portal } as const] : []),
      { ...run, portal },
      ...(synced ? [{ op: "sync" } as const] : []),
    ] as Step[];
  });

const cancel = fc
  .constantFrom(
    "SELECT pg_sleep(30)",
    "INSERT INTO ta VALUES (50, 'kept?'); SELECT pg_sleep(30)",
    "COPY (SELECT pg_sleep(30)) TO STDOUT",
  )
  .map((sql): Step[] => [{ op: "cancel", sql }]);

const one = (step: fc.Arbitrary<Step>): fc.Arbitrary<Step[]> => step.map((only) => [only]);

const validStep: fc.Arbitrary<Step[]> = fc.oneof(
  { weight: 8, arbitrary: whole },
  { weight: 5, arbitrary: one(query) },
  { weight: 3, arbitrary: one(parse) },
  { weight: 4, arbitrary: one(bind) },
  { weight: 4, arbitrary: one(execute) },
  { weight: 2, arbitrary: one(describe) },
  { weight: 4, arbitrary: one(plain("sync")) },
  { weight: 1, arbitrary: one(plain("flush")) },
  { weight: 3, arbitrary: copyIn },
  { weight: 2, arbitrary: one(plain("wait")) },
  { weight: 1, arbitrary: one(fc.oneof(copyData, plain("copyDone"), copyFail)) },
  { weight: 1, arbitrary: one(fc.constant({ op: "functionCall", oid: 1_000_000 })) },
);

const cuts: fc.Arbitrary<FuzzCase["cuts"]> = fc.oneof(
  { weight: 6, arbitrary: fc.array(fc.nat({ max: 20_000 }), { maxLength: 6 }) },
  { weight: 1, arbitrary: fc.constant("every" as const) },
);

/** Nothing here breaks the protocol; PostgreSQL answers all of it. */
export const validCase: fc.Arbitrary<FuzzCase> = fc.record({
  steps: fc
    .array(fc.oneof({ weight: 60, arbitrary: validStep }, { weight: 1, arbitrary: cancel }), {
      minLength: 1,
      maxLength: 10,
    })
    .map((steps) => steps.flat()),
  cuts,
});

/** A COPY with what does not belong there, or without an end. */
const brokenCopy: fc.Arbitrary<Step[]> = fc
  .tuple(
    copyStatements,
    fc.array(fc.oneof(copyData, query, plain("sync"), parse), { maxLength: 4 }),
  )
  .map(([sql, amid]) => [{ op: "query", sql }, ...amid]);

const bent: fc.Arbitrary<Step> = fc
  .tuple(
    fc.oneof(
      query,
      parse,
      bind,
      execute,
      describe,
      plain("sync"),
      plain("flush"),
      plain("copyDone"),
    ),
    fc.oneof(
      fc.record({
        longer: fc.constantFrom(-(2 ** 31), -200, -4, -1, 1, 4, 200, 20_000, 1_100_000, 2 ** 30),
      }),
      fc.record({ cut: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ extra: fc.constantFrom("00", "41", "0000000001", "53", "ff") }),
      fc.record({ type: fc.integer({ min: 0, max: 255 }) }),
    ),
  )
  .map(([step, how]): Step => ({ op: "bent", step, ...how }));

const raw: fc.Arbitrary<Step> = fc.oneof(
  fc
    .uint8Array({ minLength: 1, maxLength: 12 })
    .map((bytes): Step => ({ op: "raw", hex: Buffer.from(bytes).toString("hex") })),
  fc
    .constantFrom(
      "5a0000000549", // a ReadyForQuery
      "0000000804d2162f", // an SSLRequest
      "0000000804d2162e0000000000000000", // a CancelRequest
      "70000000086d6435", // a password
      "51000000105345", // the beginning of a Query
      "510000000653c3280053000000", // broken UTF-8
    )
    .map((hex): Step => ({ op: "raw", hex })),
);

/** Messages out of order, of unknown types, of wrong lengths, without ends, among good ones. */
export const hostileCase: fc.Arbitrary<FuzzCase> = fc.record({
  steps: fc
    .tuple(
      fc.array(validStep, { maxLength: 4 }),
      fc
        .array(
          fc.oneof(
            { weight: 5, arbitrary: one(bent) },
            { weight: 2, arbitrary: one(raw) },
            { weight: 1, arbitrary: brokenCopy },
          ),
          { minLength: 1, maxLength: 2 },
        )
        .map((steps) => steps.flat()),
      fc.array(validStep, { maxLength: 3 }),
    )
    .map(([before, bad, behind]) => [...before.flat(), ...bad, ...behind.flat()]),
  cuts,
});

/** Texts that the policy of the denial test refuses; in the direct database their table does not exist. */
const denied = fc.constantFrom(
  "SELECT * FROM forbidden",
  "INSERT INTO forbidden VALUES (1)",
  "WITH w AS (DELETE FROM forbidden RETURNING 1) SELECT * FROM w",
  "COPY forbidden TO STDOUT",
  "COPY forbidden FROM STDIN",
  "SELECT id FROM ta WHERE EXISTS (SELECT FROM forbidden)",
);

const deniedSteps: fc.Arbitrary<Step[]> = fc
  .tuple(denied, name, fc.boolean())
  .map(([sql, to, simple]) =>
    simple
      ? [{ op: "query", sql }]
      : [
          { op: "parse", name: to, sql },
          { op: "bind", portal: "", name: to },
          { op: "describe", kind: "P", name: "" },
          { op: "execute", portal: "", rows: 0 },
        ],
  );

export const deniedCase: fc.Arbitrary<FuzzCase> = fc.record({
  steps: fc
    .array(fc.oneof({ weight: 4, arbitrary: validStep }, { weight: 2, arbitrary: deniedSteps }), {
      minLength: 1,
      maxLength: 9,
    })
    .map((steps) => steps.flat()),
  cuts,
});
