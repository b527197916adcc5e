import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseForm } from "./form.ts";

const type = "multipart/form-data; boundary=xyz";

function read(body: string, contentType = type): unknown {
  const form = parseForm(contentType, Buffer.from(body));
  if ("problem" in form) return form.problem;
  return form.parts.map(({ bytes, ...rest }) => ({ ...rest, text: Buffer.from(bytes).toString() }));
}

const field = (name: string, value: string): string =>
  `--xyz\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

test("a form is read as the clients of APIs write it", async () => {
  const sent = new FormData();
  sent.append("model", "whisper-1");
  sent.append("timestamp_granularities[]", "word");
  sent.append("timestamp_granularities[]", "segment");
  sent.append(
    "file",
    new File([Uint8Array.of(0, 255, 13, 10, 45, 45)], "a b.mp3", { type: "audio/mpeg" }),
  );
  const request = new Request("http://x.example/", { method: "POST", body: sent });
  const form = parseForm(request.headers.get("content-type") ?? "", await request.bytes());
  assert.ok("parts" in form);
  assert.deepEqual(
    form.parts.map(({ name, filename, type, bytes }) => [
      name,
      filename,
      type,
      [...bytes].slice(0, 6),
    ]),
    [
      ["model", undefined, "", [...Buffer.from("whisper-1")].slice(0, 6)],
      ["timestamp_granularities[]", undefined, "", [...Buffer.from("word")]],
      ["timestamp_granularities[]", undefined, "", [...Buffer.from("segment")].slice(0, 6)],
      ["file", "a b.mp3", "audio/mpeg", [0, 255, 13, 10, 45, 45]],
    ],
  );
  assert.deepEqual(
    read(
      '--xyz\r\ncontent-type: text/plain; charset=utf-8\r\nContent-Length: 1\r\ncontent-disposition: form-data; name="a"\r\n\r\nx\r\n--xyz--',
    ),
    [{ name: "a", filename: undefined, type: "text/plain", text: "x" }],
    "aiohttp",
  );
  assert.deepEqual(
    read(
      "--xyz\r\nContent-Disposition: form-data; name=\"f\"; filename*=utf-8''%C3%A9.txt\r\n\r\n\r\n--xyz--\r\n",
    ),
    [{ name: "f", filename: "%C3%A9.txt", type: "", text: "" }],
    "urllib3",
  );
  assert.deepEqual(read("--xyz--\r\n"), []);
});

test("whatever fields a client writes are those that are read", async () => {
  const word = fc.stringMatching(/^[a-z_]{1,12}(?:\[\])?$/);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(word, fc.string({ unit: "grapheme" }))), async (fields) => {
      const sent = new FormData();
      for (const [name, value] of fields) sent.append(name, value);
      const request = new Request("http://x.example/", { method: "POST", body: sent });
      const contentType = request.headers.get("content-type") ?? "";
      const form = parseForm(contentType, await request.bytes());
      assert.ok("parts" in form);
      const lines = (text: string): string => text.replaceAll(/\r\n|\r|\n/g, "\r\n");
      assert.deepEqual(
        form.parts.map(({ name, bytes }) => [name, lines(Buffer.from(bytes).toString())]),
        fields.map(([name, value]) => [name, lines(value)]),
      );
    }),
  );
});

const refused: [what: string, body: string, why: RegExp, contentType?: string][] = [
  ["a preamble", `x\r\n${field("a", "1")}--xyz--`, /begin/],
  ["an epilogue", `${field("a", "1")}--xyz--\r\n${field("a", "2")}`, /follows the end/],
  ["no end", field("a", "1"), /boundary/],
  [
    "a boundary with padding",
    field("a", "1").replace("--xyz\r\n", "--xyz \r\n"),
    /more than a line end/,
  ],
  ["bare line feeds", field("a", "1").replaceAll("\r\n", "\n") + "--xyz--", /more than a line end/],
  [
    "a boundary behind a bare line feed",
    `${field("a", '1\n--xyz\nContent-Disposition: form-data; name="b"\n\n2')}--xyz--`,
    /line of its own/,
  ],
  ["a longer boundary inside", `${field("a", "1\r\n--xyzz")}--xyz--`, /more than a line end/],
  [
    "a header twice",
    `--xyz\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"\r\n\r\n1\r\n--xyz--`,
    /content-disposition too often/,
  ],
  [
    "an unknown header",
    `--xyz\r\nContent-Disposition: form-data; name="a"\r\nX-Name: b\r\n\r\n1\r\n--xyz--`,
    /x-name/,
  ],
  [
    "a folded header",
    `--xyz\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\n1\r\n--xyz--`,
    /header that is none/,
  ],
  [
    "an encoding",
    `--xyz\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--xyz--`,
    /encoded/,
  ],
  [
    "a charset",
    `--xyz\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n1\r\n--xyz--`,
    /UTF-8/,
  ],
  [
    "a name without quotes",
    `--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--xyz--`,
    /with a name/,
  ],
  [
    "two names",
    `--xyz\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n1\r\n--xyz--`,
    /with a name/,
  ],
  [
    "a name for other readers",
    `--xyz\r\nContent-Disposition: form-data; name="a"; name*=utf-8''b\r\n\r\n1\r\n--xyz--`,
    /with a name/,
  ],
  [
    "an escaped quote",
    `--xyz\r\nContent-Disposition: form-data; name="f"; filename="a\\"; name="model"\r\n\r\n1\r\n--xyz--`,
    /with a name/,
  ],
  ["a part without headers", "--xyz\r\n\r\n1\r\n--xyz--", /no headers/],
  [
    "two boundaries",
    field("a", "1"),
    /one plain boundary/,
    "multipart/form-data; boundary=xyz; boundary=abc",
  ],
  ["another multipart", field("a", "1"), /one plain boundary/, "multipart/mixed; boundary=xyz"],
  ["no boundary", field("a", "1"), /one plain boundary/, "multipart/form-data"],
];
for (const [what, body, why, contentType] of refused)
  test(`a form with ${what} is refused`, () => {
    assert.match(String(read(body, contentType)), why);
  });

test("a form with too many parts or headers is refused", () => {
  assert.match(String(read(`${field("a", "1").repeat(257)}--xyz--`)), /more than 256 parts/);
  assert.match(
    String(
      read(
        `--xyz\r\nContent-Disposition: form-data; name="${"a".repeat(5_000)}"\r\n\r\n1\r\n--xyz--`,
      ),
    ),
    /too many/,
  );
});
