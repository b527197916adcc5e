// nginx as a reverse proxy with one worker and keep-alive on both sides, at the work that it can do of ours: ten rules by path and method, the
// agent's header replaced by the credential, and a line of JSON written for each request, as nginx writes its log unless told otherwise.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { planPort } from "./ports.ts";
import { end, onProxyCore, untilListening } from "./processes.ts";

export interface Nginx {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

const allowed = (location: string, methods: string): string =>
  `    location ${location} { limit_except ${methods} { deny all; } proxy_pass http://origin; }`;

/** Those of the policy in http.ts. */
const rules = [
  allowed("~ ^/(healthz|v1/status)$", "GET"),
  allowed("~ ^/v1/customers/[^/]+(/addresses(/.*)?)?$", "GET"),
  allowed("^~ /v1/invoices/", "GET POST"),
  allowed("= /v1/refunds", "POST"),
  allowed("= /v1/search", "GET"),
  allowed("~ ^/v1/reports/[^/]+\\.csv$", "GET"),
  allowed("~ ^/v1/orders(/.*)?$", "GET POST"),
  "    location ^~ /v1/admin/ { return 403; }",
  "    location ^~ /v1/exports/ { return 403; }",
].join("\n");

export async function startNginx(originPort: number, folder: string): Promise<Nginx> {
  const port = await planPort();
  const file = join(folder, "nginx.conf");
  await writeFile(
    file,
    `master_process off; daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  keepalive_requests 100000000;
  log_format event escape=json '{"time":"$time_iso8601","method":"$request_method","path":"$uri","query":"$args","host":"$host","status":$status,"in":$request_length,"out":$bytes_sent,"ms":$request_time}';
  access_log ${folder}/access.log event;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  upstream origin { server 127.0.0.1:${originPort}; keepalive 128; keepalive_requests 100000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer real";
  server {
    listen 127.0.0.1:${port};
${rules}
    location / { return 403; }
  }
}`,
  );
  const child = onProxyCore(["nginx", "-c", file, "-p", folder], "plain");
  await untilListening(port);
  return { port, pid: child.pid ?? 0, stop: () => end(child, "SIGQUIT") };
}
