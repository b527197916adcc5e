// An agent that reads a customer's address and then tells an unrelated place: run under `chaperone run`, it prints what came of each step.
import pg from "pg";

const { DATABASE_URL = "", NOTES_URL = "" } = process.env;

async function post(text: string): Promise<string> {
  const answer = await fetch(`${NOTES_URL}/notes`, { method: "POST", body: text });
  return `${answer.status} ${(await answer.text()).slice(0, 400)}`;
}

const db = new pg.Client({ connectionString: DATABASE_URL });
await db.connect();
await db.query("SELECT id, name FROM customers");
const before = await post("hello");
const { rows } = await db.query<{ ssn: string }>("SELECT ssn FROM customers ORDER BY id LIMIT 1");
const after = await post(`the number is ${rows[0]?.ssn ?? ""}`);
await db.end();
process.stdout.write(`${JSON.stringify({ before, read: rows[0]?.ssn, after })}\n`);
