// The test files that need a process of their own, and why. All others share one with their neighbours in the folder.

const memory = "it measures its own memory, which holds what the files before it left";
const long = "it takes as long as a whole group of others";

export const alone: ReadonlyMap<string, string> = new Map([
  ["test/clients/older-integration.test.ts", long],
  ["test/clients/servers-14-15.test.ts", long],
  ["test/clients/servers-16-17.test.ts", long],
  ["test/integration/http-proxy-websocket.test.ts", memory],
  ["test/integration/http2-client.test.ts", memory],
  ["test/integration/http2-floods.test.ts", memory],
  ["test/integration/llm-bad-answers.test.ts", memory],
  ["test/integration/postgres-proxy-session.test.ts", memory],
]);
