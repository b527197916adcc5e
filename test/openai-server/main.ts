// Runs the scripted OpenAI server by itself: `node test/openai-server/main.ts --script FILE --api-key KEY [--port N] [--tls-key FILE --tls-cert FILE]`.
// Prints one line of JSON with its url and port, then serves until SIGTERM or SIGINT.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import type { Script } from "./script.ts";
import { startOpenAiServer } from "./server.ts";

const { values } = parseArgs({
  options: {
    script: { type: "string" },
    "api-key": { type: "string" },
    port: { type: "string", default: "0" },
    "tls-key": { type: "string" },
    "tls-cert": { type: "string" },
  },
});
const keyFile = values["tls-key"];
const certFile = values["tls-cert"];
if (
  values.script === undefined ||
  values["api-key"] === undefined ||
  (keyFile === undefined) !== (certFile === undefined)
) {
  process.stderr.write(
    "usage: main.ts --script FILE --api-key KEY [--port N] [--tls-key FILE --tls-cert FILE]\n",
  );
  process.exit(2);
}
const server = await startOpenAiServer({
  script: JSON.parse(readFileSync(values.script, "utf8")) as Script,
  apiKey: values["api-key"],
  port: Number(values.port),
  ...(keyFile !== undefined &&
    certFile !== undefined && {
      tls: { key: readFileSync(keyFile, "utf8"), cert: readFileSync(certFile, "utf8") },
    }),
});
process.stdout.write(`${JSON.stringify({ url: server.url, port: server.port })}\n`);
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    server.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}
