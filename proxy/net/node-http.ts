// Node's own HTTP module without its `import`, which reads everything the module exports: one of these (`WebSocket`) loads all of undici, 4 MB of
// memory that nobody here uses.
export const { Agent, createServer, request } = process.getBuiltinModule("node:http");
