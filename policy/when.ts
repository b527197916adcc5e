// `when`: a CEL condition over an operation's facts. Declares the variables and their types, checks a condition at
// admission and compiles it for the proxy. `matches` runs on RE2, so no condition can take more than linear time.
import { Environment } from "@marcbachmann/cel-js";
import type { ParseResult } from "@marcbachmann/cel-js";
import { RE2JS } from "re2js";
import type {
  ConnectionId,
  HttpFacts,
  LlmFacts,
  McpFacts,
  PassthroughFacts,
  SqlFacts,
  Subject,
} from "./operation.ts";
import { readSource, re2MatchesName, whenLimits } from "./when-source.ts";

/** The blocks by which a rule is about one protocol; one with none is about every operation. */
export const ruleBlocks = ["sql", "http", "llm", "mcp", "passthrough"] as const;

export type RuleBlock = (typeof ruleBlocks)[number];

/** What a condition may look at; the facts of the operation's own protocol alone are present. */
export interface WhenScope {
  readonly subject: Pick<Subject, "namespace" | "serviceAccount" | "pod" | "chain">;
  readonly connection: ConnectionId;
  readonly operation: { readonly kind: string; readonly summary: string };
  /** `operations`: how many this session has had before this one. `marks`: what the whole pod's session carries. */
  readonly session: {
    readonly id: string;
    readonly operations: number;
    readonly marks: readonly string[];
  };
  readonly sql?: SqlFacts;
  readonly http?: HttpFacts;
  readonly llm?: LlmFacts;
  readonly mcp?: McpFacts;
  readonly passthrough?: PassthroughFacts;
  /** Bind parameters as text; looking at one that is NULL or whose text is unknown is an error, so the condition fails. */
  readonly params: readonly (string | null)[];
  readonly time: Date;
}

export interface CompiledWhen {
  /** It looks at what is not the same the next time that the same operation comes from the same subject. */
  readonly isOfTheMoment: boolean;
  /** Throws when the condition cannot be evaluated; the caller must then decide as if it spoke against the agent. */
  evaluate(scope: WhenScope): boolean;
}

const commonVariables = [
  "subject",
  "connection",
  "operation",
  "session",
  "params",
  "time",
] as const;

/** Bind parameters are of one execution of an SQL text, and so is what describes it. */
const momentVariables = ["operation", "session", "params", "time"] as const;

/** What is known before an operation is read. */
const maskVariables = ["subject", "connection", "session", "time"] as const;

const blockSchemas: Readonly<Record<RuleBlock, Readonly<Record<string, string>>>> = {
  sql: {
    statements: "list<string>",
    relationsRead: "list<string>",
    relationsWritten: "list<string>",
    columns: "list<string>",
    functions: "list<string>",
    hasWhere: "bool",
    count: "int",
  },
  http: {
    method: "string",
    host: "string",
    path: "string",
    query: "map<string, list<string>>",
    contentType: "string",
    upgrade: "string",
  },
  llm: {
    operation: "string",
    model: "string",
    stream: "bool",
    tools: "list<string>",
    maxOutputTokens: "int",
    prompts: "list<string>",
    messages: "list<map<string, string>>",
    toolsOffered: "list<string>",
    toolsCalled: "list<string>",
    toolResults: "list<string>",
    attachments: "list<map<string, string>>",
    responseFormat: "string",
    user: "string",
    reasoning: "bool",
  },
  mcp: {
    method: "string",
    fromServer: "bool",
    tool: "string",
    resource: "string",
    prompt: "string",
    arguments: "map<string, dyn>",
    version: "string",
  },
  passthrough: { host: "string", port: "int" },
};

/** The error in a condition of a masking entry, which is asked before there is an operation. */
export function checkMaskWhen(source: string): string | undefined {
  try {
    const { problem, names } = compile(source, []);
    if (problem !== undefined) return explain(problem, undefined);
    const early = ["operation", "params"].find((name) => names.has(name));
    return early === undefined
      ? undefined
      : `when uses ${early}, which a masking entry cannot see: it can see ${maskVariables.join(", ")}`;
  } catch (error) {
    return `when cannot be read: ${text(error)}`;
  }
}

/** The error in a condition as one sentence, or undefined when it is good for a rule with this protocol block. */
export function checkWhen(source: string, block: RuleBlock | undefined): string | undefined {
  const blocks = block === undefined ? [] : [block];
  try {
    const problem = compile(source, blocks).problem;
    return problem && explain(problem, block);
  } catch (error) {
    return `when cannot be read: ${text(error)}`;
  }
}

/** Throws when the source is no valid condition. Whether its variables fit the rule's block is `checkWhen`'s question. */
export function compileWhen(source: string): CompiledWhen {
  const { program, problem, names } = compile(source, ruleBlocks);
  if (program === undefined) throw new Error(explain(problem ?? "it does not compile", undefined));
  return {
    isOfTheMoment: momentVariables.some((name) => names.has(name)),
    evaluate(scope) {
      const result: unknown = program(context(scope, names));
      if (typeof result !== "boolean") throw new Error("when gave no boolean");
      return result;
    },
  };
}

interface Compilation {
  readonly program?: ParseResult;
  readonly problem?: string;
  readonly names: ReadonlySet<string>;
}

function compile(source: string, blocks: readonly RuleBlock[]): Compilation {
  const program = environment(blocks).parse(source);
  const { problem, names, patterns } = readSource(program.ast);
  if (problem !== undefined) return { problem, names };
  for (const pattern of patterns) {
    const unsafe = checkPattern(pattern);
    if (unsafe !== undefined) return { problem: unsafe, names };
  }
  const checked = program.check();
  if (!checked.valid) return { problem: text(checked.error), names };
  if (checked.type !== "bool")
    return { problem: `it gives ${checked.type ?? "no type"}, not true or false`, names };
  return { program, names };
}

/** The error in an RE2 pattern as one sentence, or undefined when it is good. */
export function checkPattern(pattern: string): string | undefined {
  try {
    RE2JS.compile(pattern);
    return undefined;
  } catch (error) {
    return `'${pattern}' is no RE2 pattern: ${text(error)}`;
  }
}

function environment(blocks: readonly RuleBlock[]): Environment {
  const compiled = new Map<string, RE2JS>();
  const env = new Environment({ limits: whenLimits })
    .registerVariable({
      name: "subject",
      schema: { namespace: "string", serviceAccount: "string", pod: "string", chain: "string" },
    })
    .registerVariable({
      name: "connection",
      schema: { namespace: "string", name: "string", protocol: "string" },
    })
    .registerVariable({ name: "operation", schema: { kind: "string", summary: "string" } })
    .registerVariable({
      name: "session",
      schema: { id: "string", operations: "int", marks: "list<string>" },
    })
    .registerVariable("params", "list<string>")
    .registerVariable("time", "google.protobuf.Timestamp")
    .registerFunction(
      `string.${re2MatchesName}(string): bool`,
      (value: string, pattern: string) => {
        // Patterns are literals of one bounded source, so the map cannot grow past them.
        let re2 = compiled.get(pattern);
        if (re2 === undefined) compiled.set(pattern, (re2 = RE2JS.compile(pattern)));
        return re2.test(value);
      },
    );
  for (const block of blocks)
    env.registerVariable({ name: block, schema: { ...blockSchemas[block] } });
  return env;
}

/** Builds only what the condition names: prompts and relations can be long. */
function context(scope: WhenScope, names: ReadonlySet<string>): Record<string, unknown> {
  const { subject, connection, operation, session, sql, http, llm, mcp, passthrough } = scope;
  const all: Readonly<Record<string, () => unknown>> = {
    subject: () => ({
      namespace: subject.namespace,
      serviceAccount: subject.serviceAccount,
      pod: subject.pod,
      chain: subject.chain ?? "",
    }),
    connection: () => ({
      namespace: connection.namespace,
      name: connection.name,
      protocol: connection.protocol,
    }),
    operation: () => ({ kind: operation.kind, summary: operation.summary }),
    session: () => ({
      id: session.id,
      operations: BigInt(session.operations),
      marks: session.marks,
    }),
    params: () => scope.params,
    time: () => scope.time,
    sql: () => sql && { ...sql, count: BigInt(sql.count) },
    http: () => http && { upgrade: "", ...http, query: new Map(Object.entries(http.query)) },
    llm: () => llm && llmFacts(llm),
    mcp: () => mcp && { ...mcp, arguments: new Map(Object.entries(mcp.arguments)) },
    passthrough: () => passthrough && { ...passthrough, port: BigInt(passthrough.port) },
  };
  const values: Record<string, unknown> = {};
  for (const name of names) if (Object.hasOwn(all, name)) values[name] = all[name]?.();
  return values;
}

/** A fact that is not known is left out, so that a condition which looks at it fails instead of seeing a wrong value. */
function llmFacts(facts: LlmFacts): Record<string, unknown> {
  const { maxOutputTokens, prompts, messages, toolResults, promptsUnreadable, ...more } = facts;
  const { model, modelUnsaid, tools, toolsOffered, toolsCalled, toolsUnreadable, ...known } = more;
  return {
    ...known,
    ...(modelUnsaid !== true && { model }),
    ...(toolsUnreadable !== true && { tools, toolsOffered, toolsCalled }),
    ...(maxOutputTokens !== null && { maxOutputTokens: BigInt(maxOutputTokens) }),
    ...(promptsUnreadable !== true && { prompts, messages, toolResults }),
  };
}

function explain(problem: string, block: RuleBlock | undefined): string {
  const field = /^No such key: (.*)$/.exec(problem)?.[1];
  if (field !== undefined) return `when uses the field ${field}, which does not exist there`;
  const unknown = /^Unknown variable: (.*)$/.exec(problem)?.[1];
  if (unknown === undefined) return `when is not a valid condition: ${problem}`;
  if (ruleBlocks.some((name) => name === unknown)) {
    return `when uses ${unknown}, which only a rule with the block ${unknown} can see`;
  }
  const seen = [...commonVariables, ...(block === undefined ? [] : [block])].join(", ");
  return `when uses the unknown name ${unknown}: it can see ${seen}`;
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const summary =
    "summary" in error && typeof error.summary === "string" ? error.summary : error.message;
  return summary.split("\n")[0] ?? summary;
}
