/** Runs beside the agent as another user: answers on a low port of a loopback address, and to the kubelet's probe. */
import http from "node:http";

// The first process of a container gets no default action for signals.
process.once("SIGTERM", () => process.exit(0));

const answer: http.RequestListener = (_request, response) => response.end("sidecar");
http.createServer(answer).listen(443, "127.0.64.1", () => {
  http.createServer(answer).listen(8080);
});
