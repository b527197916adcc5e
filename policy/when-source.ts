// Reads the syntax tree of a `when` condition: which names and patterns it uses, and whether it stays within what may run
// on every operation. Functions are listed one by one, because a new one in the CEL library must not become a way to
// spend the proxy's time or memory.
import type { ASTNode } from "@marcbachmann/cel-js";

/** Our RE2 `matches`; the library's own is JavaScript's backtracking RegExp, so every call is renamed to this one. */
export const re2MatchesName = "matchesRe2";

/** A condition is a sentence, not a program: these are well above what people write. */
export const whenLimits = {
  maxAstNodes: 400,
  maxDepth: 32,
  maxListElements: 256,
  maxMapEntries: 64,
  maxCallArguments: 8,
};

/** Comprehensions over facts do not nest, so time stays linear in the facts; over literal lists they may. */
const maxFactComprehensions = 1;
/** How often the innermost condition may run for the literal lists around it: eight short lists in one another run for seconds. */
const maxLiteralTurns = 256;

/** What stands around a part of a condition. */
interface Around {
  readonly factComprehensions: number;
  readonly literalTurns: number;
}

const allowedFunctions: ReadonlySet<string> = new Set([
  "has",
  "size",
  "string",
  "int",
  "double",
  "bool",
  "timestamp",
  "duration",
]);

const comprehensions: ReadonlySet<string> = new Set([
  "all",
  "exists",
  "exists_one",
  "filter",
  "map",
]);

const allowedMethods: ReadonlySet<string> = new Set([
  ...comprehensions,
  "size",
  "startsWith",
  "endsWith",
  "contains",
  "matches",
  "lowerAscii",
  "upperAscii",
  "trim",
  "indexOf",
  "lastIndexOf",
  "substring",
  "getFullYear",
  "getMonth",
  "getDate",
  "getDayOfMonth",
  "getDayOfWeek",
  "getDayOfYear",
  "getHours",
  "getMinutes",
  "getSeconds",
  "getMilliseconds",
]);

export interface SourceReading {
  readonly problem: string | undefined;
  readonly names: ReadonlySet<string>;
  readonly patterns: readonly string[];
}

interface Reader {
  problem: string | undefined;
  readonly names: Set<string>;
  readonly patterns: string[];
}

/** Also renames calls of `matches` in the given tree. */
export function readSource(ast: ASTNode): SourceReading {
  const reader: Reader = { problem: undefined, names: new Set(), patterns: [] };
  visit(ast, { factComprehensions: 0, literalTurns: 1 }, reader);
  return reader;
}

function visit(node: ASTNode, around: Around, reader: Reader): void {
  switch (node.op) {
    case "id":
      reader.names.add(node.args);
      return;
    case "value":
      return;
    case "call":
      if (!allowedFunctions.has(node.args[0]))
        reader.problem ??= `the function ${node.args[0]} is not available here`;
      visitAll(node.args[1], around, reader);
      return;
    case "rcall":
      visitMethod(node, around, reader);
      return;
    case ".":
    case ".?":
      visit(node.args[0], around, reader);
      return;
    case "map":
      for (const entry of node.args) visitAll(entry, around, reader);
      return;
    case "!_":
    case "-_":
      visit(node.args, around, reader);
      return;
    default:
      visitAll(node.args, around, reader);
  }
}

function visitAll(nodes: readonly ASTNode[], around: Around, reader: Reader): void {
  for (const node of nodes) visit(node, around, reader);
}

function visitMethod(node: ASTNode & { op: "rcall" }, around: Around, reader: Reader): void {
  const [name, receiver, args] = node.args;
  if (!allowedMethods.has(name)) reader.problem ??= `the method ${name} is not available here`;
  if (name === "matches") readPattern(node, args, reader);
  visit(receiver, around, reader);
  const inner = comprehensions.has(name) ? inside(receiver, around) : around;
  if (inner.factComprehensions > maxFactComprehensions)
    reader.problem ??= `${name} over a list inside another comprehension could run too long: only lists written out may be nested`;
  if (inner.literalTurns > maxLiteralTurns)
    reader.problem ??= `${name} over lists in one another would run ${inner.literalTurns} times and may ${maxLiteralTurns} times: shorten the lists or nest fewer`;
  visitAll(args, inner, reader);
}

function inside(receiver: ASTNode, { factComprehensions, literalTurns }: Around): Around {
  return receiver.op === "list"
    ? { factComprehensions, literalTurns: literalTurns * Math.max(1, receiver.args.length) }
    : { factComprehensions: factComprehensions + 1, literalTurns };
}

function readPattern(
  node: ASTNode & { op: "rcall" },
  args: readonly ASTNode[],
  reader: Reader,
): void {
  const pattern = args[0];
  if (args.length !== 1 || pattern?.op !== "value" || typeof pattern.args !== "string") {
    reader.problem ??= "matches needs its pattern written out as text";
    return;
  }
  reader.patterns.push(pattern.args);
  node.args[0] = re2MatchesName;
}
