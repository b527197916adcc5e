import assert from "node:assert/strict";
import { test } from "node:test";
import { noticeMayPass, withoutValues } from "./refusal.ts";

const fields = (values: Readonly<Record<string, string>>): Map<string, string> =>
  new Map(Object.entries(values));

test("keeps message and names of what PostgreSQL itself says without quoting, and never detail or context", () => {
  const kept = withoutValues(
    fields({
      S: "ERROR",
      C: "23505",
      M: 'duplicate key value violates unique constraint "k"',
      D: "Key (ssn)=(1) already exists.",
      t: "customers",
      n: "k",
      W: 'COPY customers, line 1: "1"',
    }),
  );
  assert.deepEqual(Object.fromEntries(kept), {
    S: "ERROR",
    C: "23505",
    M: 'duplicate key value violates unique constraint "k"',
    t: "customers",
    n: "k",
  });
});

test("withholds what a function said, whatever code and names it chose", () => {
  const said = fields({
    S: "ERROR",
    C: "42501",
    M: "number 1",
    n: "number 1",
    W: "PL/pgSQL function shout() line 6 at RAISE\nCOPY customers, line 1",
  });
  const kept = withoutValues(said);
  assert.match(kept.get("M") ?? "", /error 42501; its text is withheld/);
  assert.equal(kept.get("n"), undefined);
  assert.equal(noticeMayPass(said), false);
});

test("withholds what is said of a statement that a function composed", () => {
  const kept = withoutValues(
    fields({ C: "42P01", M: 'relation "1" does not exist', q: 'SELECT FROM "1"', p: "13" }),
  );
  assert.deepEqual([...kept.keys()], ["C", "M"]);
  assert.match(kept.get("M") ?? "", /withheld/);
});

test("tells what names a thing only where the server points at it in the text: a value may be a name, too", () => {
  const missing = { C: "42P01", M: 'relation "123-45-6789" does not exist' };
  assert.match(withoutValues(fields(missing)).get("M") ?? "", /42P01; its text is withheld/);
  assert.equal(noticeMayPass(fields({ C: "42622", M: 'identifier "1" will be truncated' })), false);
  const pointed = withoutValues(fields({ ...missing, P: "15" }));
  assert.equal(pointed.get("M"), missing.M);
  const changed = { C: "0A000", M: "cached plan must not change result type" };
  assert.equal(withoutValues(fields(changed)).get("M"), changed.M);
});

test("withholds errors of codes that quote values", () => {
  const kept = withoutValues(
    fields({ C: "22P02", M: 'invalid input syntax for type integer: "1"' }),
  );
  assert.match(kept.get("M") ?? "", /22P02; its text is withheld/);
  assert.equal(noticeMayPass(fields({ C: "00000", M: "number 1" })), false);
});
