// What an agent tries to do, as plain data: the recognisers write it, `decide` reads it. Nothing here knows a socket.

import type { Findings } from "./sql/findings.ts";

/** Protocols of language models, each with its provider (llm/providers.ts). */
export const llmProtocols = ["openai", "anthropic", "gemini", "bedrock"] as const;
export type LlmProtocol = (typeof llmProtocols)[number];

/** Protocols this version enforces. The Connection schema names more and refuses them with a sentence. */
export const protocols = ["postgres", "http", ...llmProtocols, "mcp", "passthrough"] as const;
export type Protocol = (typeof protocols)[number];

/** Who is acting. `chain` is self-claimed attribution inside the pod, never an authorisation boundary by itself. */
export interface Subject {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  readonly chain?: string;
}

export interface ConnectionId {
  readonly namespace: string;
  readonly name: string;
  readonly protocol: Protocol;
}

/** Statement kinds of `sql.statements` in an AccessPolicy rule. */
export type StatementKind =
  | "select"
  | "insert"
  | "update"
  | "delete"
  | "merge"
  | "copy"
  | "truncate"
  | "create"
  | "alter"
  | "drop"
  | "grant"
  | "revoke"
  | "set"
  | "call"
  | "do"
  | "explain"
  | "transaction"
  | "utility"
  /** A connection that streams the database's changes, and the commands of that protocol. */
  | "replication"
  | "other"
  /** A text that PostgreSQL's grammar here cannot parse (`unparsed`). */
  | "unrecognised";

/** Kinds that change a relation, or what may be done with it; `copy` is missing, because what COPY FROM writes is an insert. */
export const relationWrites = [
  "insert",
  "update",
  "delete",
  "merge",
  "truncate",
  "create",
  "alter",
  "drop",
  "grant",
  "revoke",
] as const satisfies readonly StatementKind[];

/**
 * One thing an operation touches. Allow and RequireApproval must cover every access of an operation, alone or with
 * other rules; a Deny speaks when any access matches.
 */
export type Access =
  | RelationAccess
  | FunctionAccess
  | StatementAccess
  | HttpAccess
  | LlmAccess
  | ToolAccess
  | McpAccess
  | PassthroughAccess;

export interface RelationAccess {
  readonly kind: "relation";
  readonly statement: StatementKind;
  /** `schema.name`, folded as PostgreSQL folds identifiers. */
  readonly relation: string;
  /** `schema.table.column` of the columns named in the statement; empty when none is named or they cannot be told apart. */
  readonly columns: readonly string[];
  /** True when every column may be touched (`*`, whole-row use, INSERT without a column list, TRUNCATE, DROP …). */
  readonly allColumns: boolean;
  /** Only on update and delete: whether that statement has a WHERE clause. */
  readonly hasWhere?: boolean;
  /** ONLY: no row of a partition or child is touched. */
  readonly only?: true;
  /** Other kinds of statements that will reach its rows by another name (RENAME, DETACH PARTITION, CREATE VIEW …): to a Deny or RequireApproval it is of those, too. */
  readonly leadsTo?: "any" | readonly StatementKind[];
  /** CASCADE empties or takes apart relations that nobody names, by foreign keys and types. */
  readonly cascades?: true;
  /** What else it touches by this name, as far as a Deny or RequireApproval may be about it; permissions go by the name alone. Set by whoever knows the database (relatives.ts). */
  readonly relatives?: readonly Relative[];
  /** Covered by the built-in rule `session-basics` wherever anything is allowed; a Deny still speaks. Set by the recogniser alone. */
  readonly basic?: true;
}

/** A relation whose rows are touched under the name of another. */
export interface Relative {
  readonly relation: string;
  /** How the named one has to do with it: the named one is a part of it, it is a part of the named one, the named one reads it (a view), some of its columns are computed from it, both are named in a text that changes what names mean. */
  readonly as: "whole" | "part" | "read" | "computed" | "together";
  /** Columns of it behind those of the named one: of the same names; all, whichever is named; or these, `schema.table.column`, behind each. */
  readonly columns: "same" | "all" | ReadonlyMap<string, readonly string[]>;
}

export interface FunctionAccess {
  readonly kind: "function";
  readonly statement: StatementKind;
  /** `schema.name`; an unqualified name that is no catalog function is given the schema `public`. */
  readonly function: string;
  /** On the generated list of functions that neither write, read other relations, reach out nor sleep. */
  readonly safe: boolean;
  /** Covered by the built-in rule `session-basics` wherever anything is allowed; a Deny still speaks. Set by the recogniser alone. */
  readonly basic?: true;
}

/** A statement that names no relation and no function (SELECT 1, SET, BEGIN, DO …). */
export interface StatementAccess {
  readonly kind: "statement";
  readonly statement: StatementKind;
  /** The statement runs text the recogniser cannot see into (DO, CALL, EXECUTE of an unknown name): never covered unless named. */
  readonly opaque?: boolean;
  /** Covered by the built-in rule `session-basics` wherever anything is allowed; a Deny still speaks. Set by the recogniser alone. */
  readonly basic?: true;
}

export interface HttpAccess {
  readonly kind: "http";
  readonly method: string;
  /** Lower case, without port. */
  readonly host: string;
  /** The one normalised path, without query. */
  readonly path: string;
  /** What the request wants the connection to become; an Allow has to name it. */
  readonly upgrade?: HttpUpgrade;
}

export type HttpUpgrade = "websocket";

/** A TLS connection that is not opened. */
export interface PassthroughAccess {
  readonly kind: "passthrough";
  /** The name in its ClientHello, lower case. */
  readonly host: string;
  readonly port: number;
}

export interface LlmAccess {
  readonly kind: "llm";
  /** `chat`, `responses`, `embeddings`, `models`, … */
  readonly operation: string;
  readonly model?: string;
  readonly maxOutputTokens?: number;
}

export interface ToolAccess {
  readonly kind: "tool";
  readonly tool: string;
}

/** One message of the Model Context Protocol: at most one of tool, resource and prompt is named by it. */
export interface McpAccess {
  readonly kind: "mcp";
  /** Of JSON-RPC (`tools/call`), or of the transport itself (`stream/open`, `stream/resume`, `session/end`). */
  readonly method: string;
  /** The server asks the agent: sampling, elicitation, roots. A permission has to name the method. */
  readonly fromServer?: true;
  readonly tool?: string;
  /** A URI, or a URI template in a completion. */
  readonly resource?: string;
  readonly prompt?: string;
  /** Of a call of a tool, a prompt or a completion. */
  readonly arguments?: JsonObject;
  /** Covered by the built-in rule `session-basics` wherever anything is allowed; a Deny still speaks. Set by the recogniser alone. */
  readonly basic?: true;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** A type, not an interface: facts are also recorded as they are, and only a type is a plain record. */
export type SqlFacts = {
  /** Every statement kind at any depth, each once. */
  readonly statements: readonly StatementKind[];
  readonly relationsRead: readonly string[];
  readonly relationsWritten: readonly string[];
  readonly columns: readonly string[];
  readonly functions: readonly string[];
  /** True when every update and delete in the text has a WHERE clause (and there is at least one). */
  readonly hasWhere: boolean;
  /** Number of top-level statements in the text. */
  readonly count: number;
};

export type HttpFacts = {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  /** Every occurrence of every query parameter, decoded. */
  readonly query: Readonly<Record<string, readonly string[]>>;
  /** Media type without parameters, lower case; empty when absent. */
  readonly contentType: string;
  readonly upgrade?: HttpUpgrade;
};

export type PassthroughFacts = {
  readonly host: string;
  readonly port: number;
};

export type McpFacts = {
  readonly method: string;
  readonly fromServer: boolean;
  /** Empty where none is named; so are resource and prompt. */
  readonly tool: string;
  readonly resource: string;
  readonly prompt: string;
  readonly arguments: JsonObject;
  /** The revision of the protocol that the message is written in; empty where neither header nor handshake says it. */
  readonly version: string;
};

export interface LlmFacts {
  readonly operation: string;
  readonly model: string;
  readonly stream: boolean;
  /** Names of the tools offered to the model or called in the messages, each once. */
  readonly tools: readonly string[];
  readonly maxOutputTokens: number | null;
  /** The text of all messages sent, in order, one string each. */
  readonly prompts: readonly string[];
  /** The same texts with the role each was sent in. */
  readonly messages: readonly LlmMessage[];
  /** Of `tools`, those that the model may call, and those that it called earlier in the conversation. */
  readonly toolsOffered: readonly string[];
  readonly toolsCalled: readonly string[];
  /** What tools answered, as far as it is text. */
  readonly toolResults: readonly string[];
  readonly attachments: readonly LlmAttachment[];
  /** `json` or `json_schema` where the answer has to be of that form, else empty. */
  readonly responseFormat: string;
  /** The end user that the request names, as the provider is told; empty where it names none. */
  readonly user: string;
  /** The model is asked to think in tokens of its own before it answers. */
  readonly reasoning: boolean;
  /** Some input is not text we can read (token numbers): a Deny or RequireApproval with `promptMatches` takes it as matching. */
  readonly promptsUnreadable?: true;
  /**
   * The request does not say which model answers (the provider's own choice, requests in a file): a Deny or RequireApproval with
   * `models` takes it as matching, an Allow with `models` does not cover it.
   */
  readonly modelUnsaid?: true;
  /** Tools are offered elsewhere (in a file, later in a session): rules with `tools` are read as those with `models` above. */
  readonly toolsUnreadable?: true;
}

/** A type, not an interface: conditions see it as a plain record. */
export type LlmMessage = {
  /** `system`, `user`, `assistant`, `tool`; what a provider calls otherwise is named so. */
  readonly role: string;
  readonly text: string;
};

export type LlmAttachment = {
  readonly kind: "image" | "document" | "audio" | "video" | "file";
  /** Empty where the request does not say. */
  readonly mediaType: string;
  /** inline: in the request · url: fetched by the provider · file: stored at the provider · text: its text is a prompt, too */
  readonly source: "inline" | "url" | "file" | "text";
};

/** What a text does to the settings that a policy holds a session to; absent where it does nothing of the kind. */
export interface SessionEffects {
  /** Asks that this transaction, or those to come, may write. */
  readonly readWrite?: true;
  /** Takes settings back to the values the session began with (RESET ALL, DISCARD ALL, SET … TO DEFAULT). */
  readonly resets?: true;
  /** Ends the transaction without beginning another: COMMIT or ROLLBACK, not of a savepoint, not AND CHAIN. */
  readonly ends?: true;
  /** The longest `statement_timeout` it sets, in milliseconds. */
  readonly statementTimeoutMs?: number;
}

interface OperationBase {
  /** One line for people: a statement without its literals' danger, `POST /v1/orders`, `chat gpt-5`. Bounded, controls stripped. */
  readonly summary: string;
  readonly accesses: readonly Access[];
  /** Why the operation could not be fully understood; refused unless a rule explicitly allows unrecognised operations. */
  readonly unrecognised?: string;
}

export interface SqlOperation extends OperationBase {
  readonly kind: "sql";
  readonly facts: SqlFacts;
  readonly session?: SessionEffects;
  /**
   * PostgreSQL's grammar here cannot parse the text. Empty: a rule that names `unrecognised` may let it through, and every other rule may speak about it;
   * else why no rule lets it through.
   */
  readonly unparsed?: string;
  /** Bind parameters in text form where known, else null; empty for simple queries. */
  readonly params: readonly (string | null)[];
  /** What detectors found, where a rule asks for it; absent: nothing could be looked at, which is read against the agent. */
  readonly findings?: Findings;
}

/** Why servers could read a part of a request differently. Refused where a rule reads that part; elsewhere nothing depends on it. */
export interface Ambiguities {
  readonly path?: string;
  readonly query?: string;
}

export interface HttpOperation extends OperationBase {
  readonly kind: "http";
  readonly ambiguous?: Ambiguities;
  readonly facts: HttpFacts;
}

export interface LlmOperation extends OperationBase {
  readonly kind: "llm";
  readonly facts: LlmFacts;
  readonly http: HttpFacts;
  /** Members that the JSON body goes on with in the place of its own, so that nobody reads another model in it. */
  readonly members?: Readonly<Record<string, unknown>>;
  /** Answers asked for at once; absent: one. */
  readonly answers?: number;
  /** Requests that it brings for later, in the file of a batch: each has to be allowed, too. */
  readonly requests?: readonly LlmOperation[];
}

export interface McpOperation extends OperationBase {
  readonly kind: "mcp";
  readonly accesses: readonly McpAccess[];
  readonly facts: McpFacts;
  readonly http: HttpFacts;
}

export interface PassthroughOperation extends OperationBase {
  readonly kind: "passthrough";
  readonly facts: PassthroughFacts;
}

export type Operation =
  | SqlOperation
  | HttpOperation
  | LlmOperation
  | McpOperation
  | PassthroughOperation;
