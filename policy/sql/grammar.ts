// PostgreSQL's own grammar (libpg-query) behind one narrow door: bounded texts in, a syntax tree or a sentence out.
import { jsonDepthExceeds, type Body, asBody, asList } from "./ast.ts";
import { nestsTooDeep, type Token } from "./nesting.ts";
import { exceedsTokens, maxTokens } from "./token-count.ts";

/** Parsing is synchronous and the WebAssembly heap never shrinks: 1.3 MB of text took 460 ms and 263 MB. */
export const maxSqlBytes = 64 * 1024;
/** Walkers recurse once or twice a level; this much fits the default stack several times over. */
const maxTreeDepth = 1500;

export interface SqlSyntaxError {
  /** PostgreSQL's own words, such as `syntax error at or near "FORM"`. */
  readonly message: string;
  /** 1-based character position, as the `P` field of an ErrorResponse has it. */
  readonly position: number;
}

/** One top-level statement. */
export interface ParsedStatement {
  readonly node: unknown;
}

export type ParseOutcome =
  | { readonly ok: true; readonly statements: readonly ParsedStatement[] }
  | { readonly ok: false; readonly message: string; readonly syntaxError?: SqlSyntaxError };

export interface SqlGrammar {
  parse(text: string): ParseOutcome;
  /** The lexer's tokens, comments among them; throws where the lexer fails. */
  scan(text: string): readonly Token[];
  /** How many texts reached the parser, so that callers can bound distinct parses over time. */
  parses(): number;
  /** False after the WebAssembly module failed inside: every text is refused from then on, and the process should restart. */
  healthy(): boolean;
}

/**
 * Loads the grammar. Dynamic, because a proxy without a PostgreSQL connection must not pay the 12 MB, and because the
 * package starts loading its WebAssembly when it is imported.
 */
export async function loadSqlGrammar(): Promise<SqlGrammar> {
  // CommonJS: a bundle of several pieces knows it by its default export alone.
  const { default: library } = await import("libpg-query");
  await library.loadModule();
  let count = 0;
  let broken = false;
  const scan = (text: string): readonly Token[] => library.scanSync(text).tokens;

  const parse = (text: string): ParseOutcome => {
    const objection = textObjection(text);
    if (objection !== undefined) return { ok: false, message: objection };
    // The library refuses the empty string, PostgreSQL answers it with EmptyQueryResponse.
    if (text === "") return { ok: true, statements: [] };
    if (broken)
      return {
        ok: false,
        message:
          "the SQL grammar failed earlier and must be restarted; nothing is recognised until then",
      };
    if (tooDeep(text, scan)) return { ok: false, message: deepMessage };
    count += 1;
    let tree: Body | undefined;
    try {
      tree = asBody(library.parseSync(text));
    } catch (error) {
      const syntaxError = syntaxErrorOf(error);
      if (syntaxError !== undefined)
        return { ok: false, message: syntaxError.message, syntaxError };
      broken = true;
      return { ok: false, message: "the SQL grammar failed on this statement; send a simpler one" };
    }
    if (tree === undefined || jsonDepthExceeds(tree, maxTreeDepth))
      return { ok: false, message: deepMessage };
    return {
      ok: true,
      statements: asList(tree["stmts"]).map((raw) => ({ node: asBody(raw)?.["stmt"] })),
    };
  };

  return { parse, scan, parses: () => count, healthy: () => !broken };
}

const deepMessage = "the statement nests too deeply to be recognised; split it into smaller ones";

function textObjection(text: string): string | undefined {
  // C strings end at NUL: the grammar would see only what stands before it.
  if (text.includes("\0")) return "the statement contains a NUL character";
  if (!text.isWellFormed()) return "the statement is not valid Unicode";
  if (text.length > maxSqlBytes || Buffer.byteLength(text) > maxSqlBytes) {
    return `the statement is longer than ${maxSqlBytes} bytes; send values as bind parameters`;
  }
  if (exceedsTokens(text))
    return `the statement has more than ${maxTokens} words and signs; send values as bind parameters, a list of them as one array`;
  return undefined;
}

function tooDeep(text: string, scan: (text: string) => readonly Token[]): boolean {
  try {
    return nestsTooDeep(text, scan);
  } catch {
    // The lexer fails on this text, so the parser does too, with the better message.
    return false;
  }
}

function syntaxErrorOf(error: unknown): SqlSyntaxError | undefined {
  if (!(error instanceof Error) || error.name !== "SqlError") return undefined;
  const details = asBody((error as { sqlDetails?: unknown }).sqlDetails);
  const position = details?.["cursorPosition"];
  return { message: error.message, position: typeof position === "number" ? position + 1 : 0 };
}
