// `explain`: the decision on one operation, the rules that spoke, the obligations; exit 1 when denied. Nothing is asked of any server.
import { readFile } from "node:fs/promises";
import { checkFiles, formatLocated } from "../../crds/check.ts";
import { readManifestFiles } from "../../crds/manifest-files.ts";
import { connectionTarget } from "../../operator/connections/endpoint.ts";
import { compile } from "../../policy/compile.ts";
import { prepare } from "../../policy/decide.ts";
import { explain as explainDecision, formatExplanation } from "../../policy/explain.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { messageOf } from "../../policy/mcp/message.ts";
import { recogniseMcp } from "../../policy/mcp/recognise.ts";
import type { SqlDetector } from "../../policy/mask/detect.ts";
import { findIn } from "../../policy/sql/findings.ts";
import { recognisePassthrough } from "../../policy/passthrough/recognise.ts";
import { providerOf } from "../../policy/llm/providers.ts";
import { recogniseLlm } from "../../policy/llm/recognise.ts";
import { protocols } from "../../policy/operation.ts";
import type { Operation, Subject } from "../../policy/operation.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { AnswerNo, Failure, WrongUse } from "../exit.ts";
import { json, plain } from "../output.ts";

interface ExplainOptions {
  readonly file: string[];
  readonly serviceAccount: string;
  readonly connection: string;
  readonly namespace?: string;
  readonly chain?: string;
  readonly sql?: string;
  readonly http?: string;
  readonly operation?: string;
  readonly marks?: string;
  readonly output: string;
}

export async function explain(options: ExplainOptions): Promise<void> {
  const loaded = await checkFiles(options.file, readManifestFiles, {
    namespace: options.namespace ?? "default",
    secrets: "whenAny",
  });
  if (loaded.problems.length > 0) {
    throw new Failure(
      `the manifests have errors:\n${loaded.problems.map((problem) => `  ${plain(formatLocated(problem))}`).join("\n")}`,
    );
  }
  const connection = pickConnection(loaded.connections, options);
  const subject = subjectOf(options, connection.metadata.namespace);
  const bundle = compile({
    policies: loaded.policies,
    clusterPolicies: loaded.clusterPolicies,
    connection,
    subject,
    maskKey: "",
    ...(loaded.prices !== undefined && { prices: loaded.prices }),
  });
  const prepared = prepare(bundle);
  const operation = await operationOf(options, connection, prepared.sqlDetectors);
  const explanation = explainDecision(prepared, subject, operation, {
    session: { id: "explain", operations: 0, marks: marksOf(options.marks) },
    time: new Date(),
  });
  process.stdout.write(
    options.output === "json" ? json(explanation) : `${formatExplanation(explanation)}\n`,
  );
  if (explanation.decision.verdict === "deny") throw new AnswerNo();
}

function marksOf(list = ""): string[] {
  return list
    .split(",")
    .map((mark) => mark.trim())
    .filter((mark) => mark !== "");
}

function pickConnection(connections: readonly Connection[], options: ExplainOptions): Connection {
  const [name = "", namespace = options.namespace] = options.connection.split("/").toReversed();
  const found = connections.filter(
    ({ metadata }) =>
      metadata.name === name && (namespace === undefined || metadata.namespace === namespace),
  );
  const [first] = found;
  if (first === undefined) {
    const known =
      connections.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).join(", ") ||
      "none";
    throw new WrongUse(
      `no Connection ${options.connection} stands in the manifests (known: ${known})`,
    );
  }
  if (found.length > 1)
    throw new WrongUse(`several namespaces have a Connection ${name}; name one as namespace/name`);
  return first;
}

function subjectOf(
  { serviceAccount, namespace, chain }: ExplainOptions,
  fallback: string,
): Subject {
  const [name = "", within = namespace ?? fallback] = serviceAccount.split("/").toReversed();
  return {
    namespace: within,
    serviceAccount: name,
    pod: "explain",
    podUid: "explain",
    ...(chain === undefined ? {} : { chain }),
  };
}

async function operationOf(
  options: ExplainOptions,
  connection: Connection,
  detectors: readonly SqlDetector[],
): Promise<Operation> {
  const { protocol } = connection.spec;
  if (options.sql !== undefined) return sqlOperation(options.sql, [], protocol, detectors);
  if (options.http !== undefined) {
    const [method, target] = options.http.trim().split(/\s+/);
    if (method === undefined || target === undefined)
      throw new WrongUse('--http wants "METHOD PATH", for example --http "GET /v1/orders"');
    return httpOperation({ method, path: target }, connection);
  }
  if (options.operation === undefined)
    throw new WrongUse("say which operation with one of --sql, --http and --operation");
  const described: unknown = JSON.parse(await readFile(options.operation, "utf8"));
  if (typeof described !== "object" || described === null)
    throw new WrongUse(`${options.operation}: not a JSON object`);
  if ("sql" in described && typeof described.sql === "string") {
    const params =
      "params" in described && Array.isArray(described.params)
        ? described.params.map((value: unknown) =>
            value === null ? null : typeof value === "string" ? value : JSON.stringify(value),
          )
        : [];
    return sqlOperation(described.sql, params, protocol, detectors);
  }
  if ("mcp" in described && protocol === "mcp") return mcpOperation(described.mcp, connection);
  if ("method" in described && "path" in described) {
    const body = "body" in described ? described.body : undefined;
    return httpOperation(
      {
        method: String(described.method),
        path: String(described.path),
        ...(body === undefined ? {} : { body }),
        ...("upgrade" in described && described.upgrade === "websocket"
          ? { upgrade: described.upgrade }
          : {}),
      },
      connection,
    );
  }
  if ("host" in described && protocol === "passthrough")
    return recognisePassthrough(String(described.host), connectionTarget(connection).port);
  throw new WrongUse(
    `${options.operation}: expected {"sql": TEXT, "params": [...]}, {"method": M, "path": P, "body": {...}, "upgrade": "websocket"}, for mcp {"mcp": {"method": M, "params": {...}}} or, for passthrough, {"host": NAME}`,
  );
}

async function sqlOperation(
  text: string,
  params: readonly (string | null)[],
  protocol: string,
  detectors: readonly SqlDetector[],
): Promise<Operation> {
  if (protocol !== "postgres")
    throw new WrongUse(`--sql needs a postgres connection; this one speaks ${protocol}`);
  const [{ loadSqlGrammar }, { createLiterals }, { createSqlRecogniser }] = await Promise.all([
    import("../../policy/sql/grammar.ts"),
    import("../../policy/sql/literals.ts"),
    import("../../policy/sql/recognise.ts"),
  ]);
  const grammar = await loadSqlGrammar();
  const recogniser = createSqlRecogniser({ grammar, maxEntries: 1 });
  const { operation, instead } = recogniser.recognise(text);
  const { texts, unread } = createLiterals(grammar)(instead ?? text);
  const bound = params.filter((value) => value !== null);
  const findings = findIn({ texts: [...texts, ...bound], unread }, detectors);
  return { ...operation, params, findings };
}

/** As a client of a session sends it. */
function mcpOperation(described: unknown, connection: Connection): Operation {
  const message = messageOf({ jsonrpc: "2.0", id: 1, ...Object(described) });
  if ("problem" in message)
    throw new WrongUse(`the operation is no message of MCP: ${message.problem}`);
  const { host, basePath } = connectionTarget(connection);
  const http = recogniseHttp({
    method: "POST",
    host,
    target: basePath === "" ? "/" : basePath,
    headers: { "content-type": "application/json" },
  });
  return recogniseMcp({
    http,
    basePath,
    headers: {},
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...Object(described) }),
    answers: () => undefined,
  }).operation;
}

function httpOperation(
  asked: { method: string; path: string; body?: unknown; upgrade?: "websocket" },
  connection: Connection,
): Operation {
  const { protocol } = connection.spec;
  if (protocol === "postgres" || protocol === "passthrough" || protocol === "mcp")
    throw new WrongUse(`--http needs a connection over HTTP; this one speaks ${protocol}`);
  const target = connectionTarget(connection);
  const http = recogniseHttp({
    method: asked.method,
    host: target.host,
    target: asked.path,
    headers: asked.body === undefined ? {} : { "content-type": "application/json" },
    ...(asked.upgrade === undefined ? {} : { upgrade: asked.upgrade }),
  });
  const provider = providerOf(protocols.find((known) => known === protocol));
  if (provider === undefined) return http;
  return recogniseLlm(provider, {
    http,
    basePath: target.basePath,
    ...(asked.body === undefined ? {} : { body: JSON.stringify(asked.body) }),
  });
}
