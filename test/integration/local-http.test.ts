// The HTTP side of local mode: web pages are kept out, the placeholder key is asked for, host names work through the proxy variables.
import assert from "node:assert/strict";
import { request as httpRequest, type OutgoingHttpHeaders } from "node:http";
import { execFile, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import OpenAI from "openai";
import {
  createSystem,
  startServers,
  type Ended,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

/** A few requests; a busy machine takes its time. */
const agentTimeoutMs = 60_000;

let servers: Servers;
let system: LocalSystem;
/** What an agent under `run` has in its environment. */
let environment: NodeJS.ProcessEnv;
let stop: () => Promise<Ended>;

before(async () => {
  servers = await startServers({
    models: ["gpt-5-mini"],
    steps: [{ text: "one two three four five" }],
  });
  system = await createSystem(servers.targets);
  ({ environment, stop } = await startRun());
});

after(async () => {
  await stop?.();
  await system?.close();
  await servers?.close();
});

/** One run whose command does nothing but live: whoever has its environment is its agent. */
async function startRun(): Promise<{ environment: NodeJS.ProcessEnv; stop(): Promise<Ended> }> {
  const script = "console.log(JSON.stringify(process.env)); setInterval(() => {}, 60_000)";
  let say: (text: string) => void;
  const said = new Promise<string>((resolve) => (say = resolve));
  let running: ChildProcess | undefined;
  const command = [...run(process.execPath, "-e", script)];
  command[command.indexOf("--state") + 1] = `${system.directory}/shared`;
  const ended = system.cli(command, {
    started: (child) => {
      running = child;
      let out = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        out += chunk.toString();
        if (out.endsWith("\n")) say(out);
      });
    },
  });
  const early = ended.then(({ stderr }): never => {
    throw new Error(`the run ended: ${stderr}`);
  });
  early.catch(() => undefined);
  return {
    environment: JSON.parse(await Promise.race([said, early])) as NodeJS.ProcessEnv,
    stop: () => {
      running?.kill("SIGTERM");
      return ended;
    },
  };
}

/** What an agent of that run prints. */
async function agent(command: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, {
    env: environment,
    timeout: agentTimeoutMs,
  });
  return stdout;
}

const chatBody = JSON.stringify({
  model: "gpt-5-mini",
  messages: [{ role: "user", content: "hi" }],
});

interface Answer {
  readonly status: number;
  readonly text: string;
}

const baseUrl = (): string => environment["OPENAI_BASE_URL"] ?? "";
const key = (): string => environment["OPENAI_API_KEY"] ?? "";

/** Exactly these headers: fetch would not send a foreign Host or Origin. */
function send(headers: OutgoingHttpHeaders, path = "/v1/chat/completions"): Promise<Answer> {
  const { hostname, port } = new URL(baseUrl());
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        hostname,
        port,
        path,
        method: "POST",
        headers: {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(chatBody),
          ...headers,
        },
      },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(chatBody);
  });
}

test("what a web page would send is refused and never reaches the upstream; the agent's own is served", async () => {
  const authorization = `Bearer ${key()}`;
  const before = servers.openai.requests.length;
  const refused: readonly (readonly [string, OutgoingHttpHeaders])[] = [
    ["a foreign Origin", { authorization, origin: "https://evil.example" }],
    ["an opaque Origin", { authorization, origin: "null" }],
    ["a localhost Origin", { authorization, origin: "http://localhost:3000" }],
    ["a cross-site fetch", { authorization, "sec-fetch-site": "cross-site" }],
    ["a same-site fetch", { authorization, "sec-fetch-site": "same-site" }],
    ["a rebound name", { authorization, host: "evil.example" }],
    [
      "a rebound name with our port",
      { authorization, host: `evil.example:${new URL(baseUrl()).port}` },
    ],
    ["another port", { authorization, host: "127.0.0.1:1" }],
    ["no key", {}],
    ["the placeholder of the manifests", { authorization: "Bearer held-by-chaperone" }],
    ["another key", { authorization: `Bearer ${key().slice(0, -1)}x` }],
    ["a key that only begins right", { authorization: `Bearer ${key().slice(0, -1)}` }],
    ["an empty key", { authorization: "Bearer " }],
  ];
  for (const [what, headers] of refused) {
    const { status, text } = await send(headers);
    assert.ok(status === 403 || status === 421, `${what}: ${status} ${text}`);
    assert.ok(!text.includes(key()) && !text.includes(servers.targets.openaiKey), what);
  }
  assert.equal(servers.openai.requests.length, before, "nothing reached the upstream");
  const { status, text } = await send({ authorization });
  assert.equal(status, 200, text);
  assert.equal((await send({ authorization, "sec-fetch-site": "none" })).status, 200);
  const arrived = servers.openai.requests.at(-1);
  assert.equal(arrived?.headers.authorization, `Bearer ${servers.targets.openaiKey}`);
  assert.ok(!JSON.stringify(arrived?.headers).includes(key()), "the placeholder stays here");
});

test("a preflight of a browser gets no permission", async () => {
  const { port } = new URL(baseUrl());
  const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "OPTIONS",
    headers: {
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization",
    },
  });
  assert.ok(answer.status >= 400);
  assert.equal(answer.headers.get("access-control-allow-origin"), null);
});

test("the openai SDK works with the printed environment, streamed and not", async () => {
  const client = new OpenAI({ baseURL: baseUrl(), apiKey: key(), maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "hi" }];
  const whole = await client.chat.completions.create({ model: "gpt-5-mini", messages });
  assert.equal(whole.choices[0]?.message.content, "one two three four five");
  const stream = await client.chat.completions.create({
    model: "gpt-5-mini",
    messages,
    stream: true,
  });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  assert.equal(text, "one two three four five");
  await assert.rejects(
    client.chat.completions.create({ model: "gpt-5", messages }),
    (error: unknown) => error instanceof OpenAI.PermissionDeniedError && error.code === "Denied",
  );
});

const run = (...command: string[]): string[] => [
  "run",
  "-f",
  system.manifests,
  "--service-account",
  "invoice-agent",
  "--state",
  `${system.directory}/run`,
  "--",
  ...command,
];

test("curl reaches a connection by its host name through HTTPS_PROXY, with the pod's CA and no other", async () => {
  const url = `https://api.openai.com:${servers.targets.openaiPort}/v1/chat/completions`;
  const ask = `curl -sS -H 'content-type: application/json' -d '${chatBody}' ${url}`;
  const script = [
    `echo "trusted: $(${ask} --cacert "$SSL_CERT_FILE" -H "authorization: Bearer $OPENAI_API_KEY")"`,
    `echo "untrusted: $(${ask} --cacert /etc/hostname 2>&1)"`,
    `echo "keyless: $(${ask})"`,
    `echo "unknown-https: $(curl -sS https://unknown.example:8443/path 2>&1)"`,
    `echo "unknown-http: $(curl -sS http://unknown.example/)"`,
    `echo "metadata: $(curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/)"`,
    `echo "loopback: $(curl -s -o /dev/null -w '%{http_code}' --noproxy '' http://127.0.0.1:${servers.targets.postgresPort}/)"`,
  ].join("\n");
  const stdout = await agent("sh", "-c", script);
  const said = new Map(
    stdout.split("\n").map((line): [string, string] => {
      const at = line.indexOf(": ");
      return [line.slice(0, at), line.slice(at + 2)];
    }),
  );
  assert.match(said.get("trusted") ?? "", /one two three four five/, stdout);
  assert.match(said.get("untrusted") ?? "", /certificate|CAfile/i);
  assert.match(said.get("keyless") ?? "", /placeholder key of this run is missing/);
  assert.match(said.get("unknown-https") ?? "", /CONNECT tunnel failed, response 403/);
  assert.match(
    said.get("unknown-http") ?? "",
    /no Connection names unknown\.example:80; to reach it, add a Connection with endpoint\.url http:\/\/unknown\.example/,
  );
  assert.equal(said.get("metadata"), "403");
  assert.equal(said.get("loopback"), "403");
});

test("the refusal of an unknown host names the Connection that would be needed, also to CONNECT", async () => {
  const script =
    "const u=new URL(process.env.HTTPS_PROXY);require('node:http').request({host:u.hostname,port:u.port,method:'CONNECT',path:'unknown.example:8443',headers:{host:'unknown.example:8443'}}).on('connect',(r,s,first)=>{console.log(r.statusCode);process.stdout.write(first);s.on('data',d=>process.stdout.write(d));s.on('end',()=>process.exit(0))}).on('response',(r)=>{console.log(r.statusCode);r.pipe(process.stdout)}).end()";
  const stdout = await agent(process.execPath, "-e", script);
  assert.match(stdout, /^403/);
  assert.match(stdout, /no Connection names unknown.example:8443; to reach it, add a Connection/);
});

test("what was refused for its host is recorded with host, port and scheme, once for each place", async () => {
  const script = [
    "curl -sS https://first.example:8443/ https://first.example:8443/ https://first.example:8443/",
    "curl -sS http://second.example/",
    "true",
  ].join("\n");
  await system.cli(run("sh", "-c", script));
  const { stdout } = await system.cli([
    "events",
    "--state",
    `${system.directory}/run`,
    "--limit",
    "100",
    "-o",
    "json",
  ]);
  const targets = stdout
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { target?: { host: string; count: number } }).target)
    .filter((target) => target !== undefined && /first|second/.test(target.host));
  assert.deepEqual(targets, [
    { host: "first.example", port: 8443, scheme: "https", count: 1 },
    { host: "second.example", port: 80, scheme: "http", count: 1 },
    { host: "first.example", port: 8443, scheme: "https", count: 2 },
  ]);
});

test("CONNECT to a PostgreSQL connection meets its room: statements are decided inside the tunnel", async () => {
  const target = `orders-db:${servers.targets.postgresPort}`;
  const script = `
    const { default: pg } = await import(${JSON.stringify(import.meta.resolve("pg"))});
    const { request } = await import("node:http");
    const proxy = new URL(process.env.HTTPS_PROXY);
    const tunnel = request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: "${target}", headers: { host: "${target}" } }).end();
    const stream = await new Promise((resolve) => tunnel.on("connect", (_answer, socket) => resolve(socket)));
    stream.connect = () => setImmediate(() => stream.emit("connect"));
    const client = new pg.Client({ stream, user: "agent", database: "orders", ssl: false });
    await client.connect();
    console.log((await client.query("SELECT 1 AS one")).rows[0].one);
    await client.query("DROP TABLE customers").catch((error) => console.log(error.code));
    await client.end();`;
  const stdout = await agent(process.execPath, "--input-type=module", "-e", script);
  assert.equal(stdout, "1\n42501\n");
});

test("a passthrough connection is reached by its name with its own certificate, and another name inside the tunnel is not", async () => {
  const port = servers.targets.openaiPort;
  await system.write(
    "passthrough.yaml",
    `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: sealed, namespace: agents}
spec:
  protocol: passthrough
  endpoint: {host: localhost, port: ${port}}
  hosts: [sealed.example]
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: sealed, namespace: agents}
spec:
  targetRefs: [{name: sealed}]
  rules:
    - {name: sealed, action: Allow, passthrough: {hosts: [sealed.example]}}
`,
  );
  const script = [
    `curl -vsk -H 'authorization: Bearer ${servers.targets.openaiKey}' https://sealed.example:${port}/v1/models 2>&1`,
    `echo "other: $(curl -sSk --connect-to other.example:${port}:sealed.example:${port} https://other.example:${port}/ 2>&1)"`,
  ].join("\n");
  const { stdout } = await system.cli(run("sh", "-c", script));
  assert.match(stdout, /"object":\s*"list"/);
  assert.match(stdout, /issuer: (?!.*Chaperone)/);
  assert.match(stdout, /other: .*unrecognized/);
  const events = await system.cli([
    "events",
    "--state",
    `${system.directory}/run`,
    "--limit",
    "100",
    "-o",
    "json",
  ]);
  const done = events.stdout
    .split("\n")
    .find((line) => line.includes('"type":"operation"') && line.includes("TLS to sealed.example"));
  assert.match(done ?? events.stdout, /"protocol":"passthrough".*"bytesIn":\d+,"bytesOut":\d+/);
});

test("an unmodified Node agent reaches a connection by its host name, trusting what run set", async () => {
  const url = `https://api.openai.com:${servers.targets.openaiPort}/v1`;
  const script = `
    const { default: OpenAI } = await import(${JSON.stringify(import.meta.resolve("openai"))});
    const client = new OpenAI({ baseURL: ${JSON.stringify(url)}, maxRetries: 0 });
    const answer = await client.chat.completions.create({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] });
    console.log(answer.choices[0].message.content);`;
  const stdout = await agent(process.execPath, "--input-type=module", "-e", script);
  assert.equal(stdout.trim(), "one two three four five");
});

test("SIGTERM is not held up by tunnels, refused ones or kept-alive connections that the agent leaves open", async () => {
  const other = await createSystem(servers.targets);
  const sockets: Socket[] = [];
  let stopping = 0;
  let out = "";
  const occupy = async (child: ChildProcess): Promise<void> => {
    const proxy = /HTTPS_PROXY=(\S+)/.exec(out)?.[1] ?? "";
    for (const target of [`api.openai.com:${servers.targets.openaiPort}`, "unknown.example:443"]) {
      const { hostname, port } = new URL(proxy);
      const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      socket.on("error", () => undefined);
      sockets.push(socket);
      socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n\r\n`);
      await once(socket, "data");
    }
    stopping = performance.now();
    child.kill("SIGTERM");
  };
  const ended = await other.cli(
    ["dev", "-f", other.manifests, "--service-account", "invoice-agent", "--state", other.state],
    {
      started: (child) =>
        child.stdout?.on("data", (chunk: Buffer) => {
          out += chunk.toString();
          if (out.endsWith("ready\n")) void occupy(child);
        }),
    },
  );
  const tookMs = performance.now() - stopping;
  for (const socket of sockets) socket.destroy();
  await other.close();
  assert.equal(ended.code, 0, ended.stderr);
  assert.ok(tookMs < 5_000, `${Math.round(tookMs)} ms`);
});
