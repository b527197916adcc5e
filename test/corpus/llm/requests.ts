// Requests to models whose JSON two readers could read differently. Each has to be refused, or to arrive so that every reader finds the model
// that was decided on.
import {
  brotliCompressSync,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from "node:zlib";

export interface TrickyRequest {
  readonly name: string;
  readonly body: Buffer;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The model that it is decided as and that everyone finds; undefined: refused. */
  readonly model?: string;
}

/** The one that rules deny; nothing that arrives may say it to anybody. */
export const denied = "gpt-denied";
export const allowed = "gpt-allowed";

const messages = '"messages":[{"role":"user","content":"hi"}]';
const plain = `{"model":"${allowed}",${messages}}`;
const members = (...more: readonly string[]): string => `{${[...more, messages].join(",")}}`;

function request(
  name: string,
  body: string | Buffer,
  more: Omit<TrickyRequest, "name" | "body"> = {},
): TrickyRequest {
  return { name, body: typeof body === "string" ? Buffer.from(body) : body, ...more };
}

const both = [`"model":"${allowed}"`, `"model":"${denied}"`] as const;
const escaped = String.raw`"mod\u0065l":"${denied}"`;

const names: readonly TrickyRequest[] = [
  request("the model twice", members(...both)),
  request("the model twice, the other way round", members(both[1], both[0])),
  request("the model once more, escaped", members(both[0], escaped)),
  request("the model once more, escaped in front", members(escaped, both[0])),
  request(
    "the model once more, behind the messages",
    `{"model":"${allowed}",${messages},"model":"${denied}"}`,
  ),
  request("the model escaped, once", members(String.raw`"\u006dode\u006C":"${allowed}"`), {
    model: allowed,
  }),
  request("the model's value escaped", members(String.raw`"model":"gpt\u002dallowed"`), {
    model: allowed,
  }),
  request("the model in capitals beside it", members(both[0], `"MODEL":"${denied}"`)),
  request("the model in capitals in front of it", members(`"Model":"${denied}"`, both[0])),
  request("the model in capitals alone", members(`"Model":"${allowed}"`)),
  request(
    "the model with a NUL behind its name",
    members(both[0], String.raw`"model\u0000":"${denied}"`),
  ),
  request(
    "the model with a NUL behind its name, in front",
    members(String.raw`"model\u0000x":"${denied}"`, both[0]),
  ),
  request("a model with a NUL in it", members(String.raw`"model":"${denied}\u0000x"`)),
  request("a model with blanks around it", members(`"model":" ${denied} "`)),
  request("a model with a line end behind it", members(String.raw`"model":"${denied}\n"`)),
  request("a model with half a surrogate pair", members(String.raw`"model":"${allowed}\ud800"`), {
    model: `${allowed}\ufffd`,
  }),
  request(
    "the content twice in a message",
    `{"model":"${allowed}","messages":[{"role":"user","content":"a","content":"b"}]}`,
  ),
  request(
    "a tool's name twice",
    members(both[0], '"tools":[{"type":"function","function":{"name":"a","name":"b"}}]'),
  ),
  request(
    "equal names by halves of surrogate pairs",
    members(both[0], String.raw`"\ud800":1,"\udfff":2`),
  ),
  request("a list of models", members(both[0], `"models":["${denied}"]`)),
  request("fallbacks", members(both[0], `"fallbacks":["${denied}"]`)),
  request(
    "fallbacks for long prompts",
    members(both[0], `"context_window_fallbacks":[{"${allowed}":["${denied}"]}]`),
  ),
  request("a configuration of the gateway", members(both[0], `"user_config":{"model_list":[]}`)),
  request("another server to ask", members(both[0], '"api_base":"https://elsewhere.example"')),
  request("a model below __proto__", members(both[0], `"__proto__":{"model":"${denied}"}`), {
    model: allowed,
  }),
  request("a model in its metadata", members(both[0], `"metadata":{"model":"${denied}"}`), {
    model: allowed,
  }),
  request("a model that is a list", members(`"model":["${denied}"]`)),
  request("a model that is null", members('"model":null')),
  request("no model", members()),
];

const encodings: readonly TrickyRequest[] = [
  request("a byte order mark", `\ufeff${plain}`),
  request("UTF-16, little end first", Buffer.from(plain, "utf16le")),
  request("UTF-16 with its mark", Buffer.from(`\ufeff${plain}`, "utf16le")),
  request("UTF-16, big end first", Buffer.from(plain, "utf16le").swap16()),
  request("UTF-32", Buffer.from(plain.split("").flatMap((one) => [one.charCodeAt(0), 0, 0, 0]))),
  request(
    "a byte that is no UTF-8",
    Buffer.concat([
      Buffer.from(`{"model":"${allowed}`),
      Buffer.of(0xff),
      Buffer.from(`",${messages}}`),
    ]),
  ),
  request(
    "a quotation mark in two bytes",
    Buffer.concat([
      Buffer.from(`{"model":"${allowed}","x":"`),
      Buffer.of(0xc0, 0xa2),
      Buffer.from(`,${messages}}`),
    ]),
  ),
  request(
    "a surrogate in UTF-8",
    Buffer.concat([
      Buffer.from(`{"model":"${allowed}`),
      Buffer.of(0xed, 0xa0, 0x80),
      Buffer.from(`",${messages}}`),
    ]),
  ),
  request(
    "UTF-7, says the type",
    `{"model":"${allowed}","x":"+ACI-,+ACI-model+ACI-:+ACI-${denied}",${messages}}`,
    {
      headers: { "content-type": "application/json; charset=utf-7" },
    },
  ),
  request("UTF-16, says the type", plain, {
    headers: { "content-type": "application/json; charset=utf-16" },
  }),
  request("UTF-8, says the type", plain, {
    headers: { "content-type": "Application/JSON; Charset=UTF-8" },
    model: allowed,
  }),
];

const codings: readonly TrickyRequest[] = (
  [
    ["gzip", gzipSync(plain)],
    ["x-gzip", gzipSync(plain)],
    ["deflate", deflateSync(plain)],
    ["br", brotliCompressSync(plain)],
    ["zstd", zstdCompressSync(plain)],
    ["identity", Buffer.from(plain)],
  ] as const
)
  .map(([coding, body]) =>
    request(`${coding}`, body, { headers: { "content-encoding": coding }, model: allowed }),
  )
  .concat([
    request(
      "gzip that is in two members",
      Buffer.concat([gzipSync(plain.slice(0, 9)), gzipSync(plain.slice(9))]),
      {
        headers: { "content-encoding": "gzip" },
        model: allowed,
      },
    ),
    request(
      "gzip with something behind it",
      Buffer.concat([gzipSync(plain), Buffer.from(members(both[1]))]),
      { headers: { "content-encoding": "gzip" } },
    ),
    request("gzip that is not said", gzipSync(plain)),
    request("gzip that is none", plain, { headers: { "content-encoding": "gzip" } }),
    request("gzip twice", gzipSync(gzipSync(plain)), {
      headers: { "content-encoding": "gzip, gzip" },
    }),
    request("gzip inside of gzip", gzipSync(gzipSync(plain)), {
      headers: { "content-encoding": "gzip" },
    }),
    request("deflate without its frame", deflateRawSync(plain), {
      headers: { "content-encoding": "deflate" },
    }),
    request("an encoding nobody knows", plain, { headers: { "content-encoding": "rot13" } }),
  ]);

const types: readonly TrickyRequest[] = (
  [
    ["text/plain", undefined],
    ["application/x-www-form-urlencoded", allowed],
    ["multipart/form-data; boundary=x", undefined],
    ["application/xml", undefined],
    ["application/json, text/plain", undefined],
    ["application/x-ndjson", undefined],
    ["", allowed],
  ] as const
).map(([type, model]) =>
  request(`sent as ${type === "" ? "nothing" : type}`, plain, {
    headers: { "content-type": type },
    ...(model !== undefined && { model }),
  }),
);

const texts: readonly TrickyRequest[] = [
  request("a comment", `{"model":"${allowed}",/*"model":"${denied}",*/${messages}}`),
  request("a comment that only some readers see", `{"model":"${allowed}",//\n"x":1,${messages}}`),
  request("a comma too much", `{"model":"${allowed}",${messages},}`),
  request("single quotes", `{'model':'${denied}',${messages}}`),
  request("a name without quotes", `{model:"${denied}",${messages}}`),
  request("another object behind it", `${plain}{"model":"${denied}",${messages}}`),
  request("another object in front of it", `{"model":"${denied}",${messages}}${plain}`),
  request("another object on its own line", `${plain}\n{"model":"${denied}",${messages}}`),
  request("blanks and line ends around it", ` \r\n\t${plain}\n\n`, { model: allowed }),
  request("a NUL behind it", `${plain}\0`),
  request("a list of it", `[${plain}]`),
  request("text of it", JSON.stringify(plain)),
  request("NaN", members(both[0], '"temperature":NaN')),
  request("Infinity", members(both[0], '"temperature":-Infinity')),
  request("a number of a million digits", members(both[0], `"seed":${"7".repeat(1_000_000)}`)),
  request("a number of a million zeros", members(both[0], `"seed":0.${"0".repeat(1_000_000)}1`)),
  request("a number that JavaScript cannot hold", members(both[0], '"seed":12345678901234567890'), {
    model: allowed,
  }),
  request("a limit that overflows", members(both[0], '"max_tokens":1e999')),
  request("a limit that is text", members(both[0], '"max_tokens":"9"')),
  request("a limit in hexadecimal", members(both[0], '"max_tokens":0x10')),
  request(
    "lists 100,000 deep",
    members(both[0], `"x":${"[".repeat(100_000)}${"]".repeat(100_000)}`),
  ),
  request(
    "objects 100,000 deep",
    members(both[0], `"x":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`),
  ),
  request("100,000 openings and nothing else", "[".repeat(100_000)),
  request("a raw line end in a string", members(`"model":"${allowed}\n"`)),
  request("an escape that is none", members(String.raw`"model":"gpt\x2dallowed"`)),
  request("nothing", ""),
  request("half of it", plain.slice(0, 20)),
];

const targets: readonly TrickyRequest[] = [
  request("a model in the query", plain, { path: `/v1/chat/completions?model=${denied}` }),
  request("a model in the query in capitals", plain, {
    path: `/v1/chat/completions?Model=${denied}`,
  }),
  request("a path with two readings", plain, { path: "/v1/x/..;/chat/completions" }),
  request("a slash at the end", plain, { path: "/v1/chat/completions/" }),
  request("capitals in the path", plain, { path: "/v1/Chat/Completions" }),
  request("an encoded letter in the path", plain, {
    path: "/v1/chat/%63ompletions",
    model: allowed,
  }),
  request("an encoded slash in the path", plain, { path: "/v1/chat%2fcompletions" }),
];

const headers: readonly TrickyRequest[] = [
  "x-portkey-config",
  "helicone-target-url",
  "Helicone-Fallbacks",
  "x-litellm-model",
].map((name) =>
  request(`the header ${name}`, plain, { headers: { [name]: `https://${denied}.example` } }),
);

export const trickyRequests: readonly TrickyRequest[] = [
  ...names,
  ...encodings,
  ...codings,
  ...types,
  ...texts,
  ...targets,
  ...headers,
];
