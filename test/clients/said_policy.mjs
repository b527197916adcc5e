// What `pg` meets where a rule looks into what it says: each way that it has to send a value. Prints JSON.
import { ca, require, way } from "./scenes.mjs";

const pg = require("pg");
const card = process.argv[4];
const harmless = "nothing of it, é and 你";
const { host, port, user, password, database } = way;
const client = new pg.Client({ host, port, user, password, database, ssl: { ca } });
await client.connect();

const ways = {
  parameter: (value) => ({ text: "SELECT $1::text", values: [value] }),
  named: (value) => ({ name: "said", text: "SELECT $1::text AS said", values: [value] }),
  array: (value) => ({ text: "SELECT $1::text[]", values: [["a", value]] }),
  json: (value) => ({ text: "SELECT $1::jsonb", values: [{ a: [value] }] }),
};
/** In binary, and of which type it is only the server knows. */
const untyped = (value) => ({ text: "SELECT $1::bytea", values: [Buffer.from(value)] });

async function tried(value) {
  const found = {};
  for (const [how, query] of Object.entries(ways)) found[how] = await outcome(query(value));
  return found;
}

function outcome(query) {
  return client.query(query).then(
    () => null,
    (error) => [error.constructor.name, error.code],
  );
}

const seen = { harmless: await tried(harmless), card: await tried(card) };
seen.untyped = await outcome(untyped(harmless));
const { rows } = await client.query(ways.named(harmless));
process.stdout.write(JSON.stringify({ ...seen, after: rows[0].said === harmless }));
await client.end();
