// What a client sees otherwise than straight from the server even where every rule allows it, and why: played both ways by a test, printed by docs/clients.md.

export interface Difference {
  readonly what: string;
  readonly why: string;
  /** Lines for psql. */
  readonly lines: readonly string[];
  /** In what psql shows of the last of them. */
  readonly direct: RegExp;
  readonly proxied: RegExp;
}

const pathIsPinned =
  "Names in rules and masks are resolved by this path; with another the same text would mean other tables";
const executeIsLiteral =
  "What runs must be known from the text and what this session prepared: a literal is, an expression is not";

export const differences: readonly Difference[] = [
  {
    what: "`SHOW search_path` says `public, pg_temp`",
    why: `${pathIsPinned}; temporary objects come last so that they hide nothing`,
    lines: ["SHOW search_path;"],
    direct: /^"\$user", public$/,
    proxied: /^public, pg_temp$/,
  },
  {
    what: "`SET search_path` to anything but nothing or `public` is refused; write `schema.table`",
    why: pathIsPinned,
    lines: ["SET search_path = pg_catalog, public;"],
    direct: /^SET$/,
    proxied: /SET search_path to this value is pinned/,
  },
  {
    what: "A timeout set to 0 (none) is an hour; one of more than an hour is refused",
    why: "No statement of an agent runs for ever",
    lines: ["SET statement_timeout = 0;", "SHOW statement_timeout;"],
    direct: /^0$/,
    proxied: /^1h$/,
  },
  {
    what: "`SET ROLE` and `SET SESSION AUTHORIZATION` are refused",
    why: "The role is the Connection's, not the agent's",
    lines: ["SET ROLE postgres;"],
    direct: /^SET$/,
    proxied: /SET role is pinned/,
  },
  {
    what: "`SET client_encoding` to anything but UTF8 is refused (psql: `\\encoding`)",
    why: "Bytes would be read as other characters than the rules saw",
    lines: ["SET client_encoding = 'LATIN1';"],
    direct: /^SET$/,
    proxied: /SET client_encoding to this value is pinned/,
  },
  {
    what: "Any setting that is not on the list is refused",
    why: "The list holds what drivers and tools set; an unknown setting may change what a statement does",
    lines: ["SET work_mem = '64MB';"],
    direct: /^SET$/,
    proxied: /SET work_mem is pinned/,
  },
  {
    what: "`ALTER ROLE … SET`, `ALTER DATABASE … SET` and `ALTER SYSTEM` are refused",
    why: "They would change sessions to come",
    lines: ["ALTER ROLE postgres SET lock_timeout = '5s';"],
    direct: /^ALTER ROLE$/,
    proxied: /for sessions to come is pinned/,
  },
  {
    what: "Temporary tables are refused",
    why: "A temporary table hides the real one of its name",
    lines: ["CREATE TEMP TABLE scratch (a int);"],
    direct: /^CREATE TABLE$/,
    proxied: /temporary/i,
  },
  {
    what: "`EXECUTE` with anything but bare literals as arguments is refused; so is `pg_dump --statistics`, which casts its own",
    why: executeIsLiteral,
    lines: ["PREPARE shout (text) AS SELECT upper($1);", "EXECUTE shout('a' || 'b');"],
    direct: /^AB$/,
    proxied: /EXECUTE is decided only as a statement of its own/,
  },
  {
    what: "`EXECUTE` inside another statement, or in a text of several, is refused",
    why: executeIsLiteral,
    lines: ["PREPARE one AS SELECT 'uno';", "SELECT 1 \\; EXECUTE one;"],
    direct: /uno$/,
    proxied: /EXECUTE is decided only as a statement of its own/,
  },
  {
    what: "`EXECUTE` after `DO`, `CALL` or a function of the user's own: the statement has to be prepared again",
    why: "Such code may have given the name to another statement",
    lines: ["PREPARE one AS SELECT 'uno';", "DO 'BEGIN END';", "EXECUTE one;"],
    direct: /^uno$/,
    proxied: /prepared statement "one" does not exist/,
  },
  {
    what: "`COPY` with a file of the server or a program is refused; `\\copy`, STDIN and STDOUT work",
    why: "It reads, writes or runs on the database's machine",
    lines: ["COPY (SELECT 1) TO PROGRAM 'cat > /dev/null';"],
    direct: /^COPY 1$/,
    proxied: /COPY with PROGRAM runs a command/,
  },
  {
    what: "`CREATE SCHEMA` with objects in it is refused; send one statement for each",
    why: "Bare names in it would mean the new schema",
    lines: ["CREATE SCHEMA shelf CREATE TABLE box (a int);"],
    direct: /^CREATE SCHEMA$/,
    proxied: /CREATE SCHEMA with objects in it is refused/,
  },
  {
    what: "A statement of more than 64 KiB of text, or of more than 20,000 words and signs, is refused; parameters and COPY carry more",
    why: "Every text is parsed before it is decided, and that must not stop the others",
    lines: [`SELECT length('${"x".repeat(70_000)}');`],
    direct: /^70000$/,
    proxied: /longer than 65536 bytes/,
  },
];

/** Where masks apply to a column besides. */
export const maskDifferences: readonly Difference[] = [
  {
    what: "A masked column in `WHERE`, `ORDER BY`, `GROUP BY` and the like is refused, unless its mask says `predicates: Allow`",
    why: "Which rows come back, and in which order, tells of the values",
    lines: ["SELECT id FROM people WHERE ssn LIKE '219%';"],
    direct: /^2$/,
    proxied: /public\.people\.ssn is masked/,
  },
  {
    what: "`COPY … TO STDOUT` of a masked column with delimiters of its own is refused; as `pg_dump` and `\\copy` ask for it, and in binary, it is masked",
    why: "Rows are taken apart in the text and CSV formats as they are by default",
    lines: ["COPY people TO STDOUT (DELIMITER '|');"],
    direct: /219-09-9999$/,
    proxied: /cannot be masked/,
  },
];
