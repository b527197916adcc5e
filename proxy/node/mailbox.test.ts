import assert from "node:assert/strict";
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Mailbox } from "./mailbox.ts";

async function opened(
  t: TestContext,
  answerTo: (request: string) => Promise<string>,
  before: Readonly<Record<string, string>> = {},
) {
  const directory = mkdtempSync(join(tmpdir(), "chaperone-mailbox-"));
  for (const [name, text] of Object.entries(before)) writeFileSync(join(directory, name), text);
  const errors: unknown[] = [];
  const mailbox = new Mailbox(directory, answerTo, (error) => errors.push(error));
  await mailbox.open();
  t.after(async () => {
    await mailbox.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return { directory, errors, mailbox };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let left = 500; left > 0; left -= 1) {
    if (holds()) return;
    await sleep(10);
  }
  assert.fail(what);
}

test("each request is answered once, those that lay there before as well, and the folder is root's alone", async (t) => {
  const asked: string[] = [];
  const { directory, errors } = await opened(
    t,
    async (request) => {
      asked.push(request);
      return `to ${request}`;
    },
    { "early.1.request": "early" },
  );
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  const answerOf = (letter: string): string =>
    readFileSync(join(directory, `${letter}.answer`), "utf8");
  await until("the early one", () => existsSync(join(directory, "early.1.answer")));
  assert.equal(answerOf("early.1"), "to early\n");
  const letters = Array.from({ length: 20 }, (_, at) => `x.${at}`);
  for (const letter of letters) writeFileSync(join(directory, `${letter}.request`), letter);
  for (const letter of letters)
    await until(letter, () => existsSync(join(directory, `${letter}.answer`)));
  assert.deepEqual(asked.toSorted(), ["early", ...letters].toSorted());
  assert.deepEqual(errors, []);
});

test("no more than four are worked on at once", async (t) => {
  let open = 0;
  let most = 0;
  const { directory } = await opened(t, async () => {
    open += 1;
    most = Math.max(most, open);
    await sleep(20);
    open -= 1;
    return "ok";
  });
  for (let at = 0; at < 12; at += 1) writeFileSync(join(directory, `x.${at}.request`), "x");
  await until(
    "all answers",
    () => readdirSync(directory).filter((name) => name.endsWith(".answer")).length === 12,
  );
  assert.equal(most, 4);
});

test("what nobody came for is taken away, and nothing else", async (t) => {
  const { directory, mailbox } = await opened(t, async () => "ok");
  writeFileSync(join(directory, "old.answer"), "ok");
  writeFileSync(join(directory, "other"), "not ours");
  const hourAgo = Date.now() / 1000 - 3600;
  for (const name of ["old.answer", "other"]) utimesSync(join(directory, name), hourAgo, hourAgo);
  writeFileSync(join(directory, "x.request"), "x");
  await until("the old answer to go", () => !existsSync(join(directory, "old.answer")));
  await until("the answer", () => existsSync(join(directory, "x.answer")));
  await mailbox.close();
  assert.ok(existsSync(join(directory, "other")));
});

test("a request that is longer than any plugin's is cut, and answered", async (t) => {
  const lengths: number[] = [];
  const { directory } = await opened(t, async (request) => {
    lengths.push(request.length);
    return "too long";
  });
  writeFileSync(join(directory, "long.request"), Buffer.alloc(4 * 1024 * 1024, "x"));
  await until("the answer", () => existsSync(join(directory, "long.answer")));
  // Seen before it was whole, it is shorter still.
  assert.ok(lengths.every((length) => length <= 2 * 1024 * 1024));
});
