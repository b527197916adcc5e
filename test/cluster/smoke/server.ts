/** Runs in a pod: answers behind a Service. */
import http from "node:http";

// The first process of a container gets no default action for signals.
process.once("SIGTERM", () => process.exit(0));

http.createServer((_request, response) => response.end("server")).listen(8080);
