// The scripted OpenAI server in a pod: its script, key and certificate come from mounted files.
import { readFileSync } from "node:fs";
import type { Script } from "../../openai-server/script.ts";
import { startOpenAiServer } from "../../openai-server/server.ts";

const folder = "/etc/upstream";
const server = await startOpenAiServer({
  script: JSON.parse(readFileSync(`${folder}/script.json`, "utf8")) as Script,
  apiKey: readFileSync(`${folder}/api-key`, "utf8"),
  host: "0.0.0.0",
  port: 8443,
  tls: {
    key: readFileSync(`${folder}/tls.key`, "utf8"),
    cert: readFileSync(`${folder}/tls.crt`, "utf8"),
  },
});
process.stdout.write(`${JSON.stringify({ url: server.url })}\n`);
process.once("SIGTERM", () => {
  server.close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
