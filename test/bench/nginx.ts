// nginx as a reverse proxy with one worker, keep-alive on both sides and no log: the least a proxy has to do.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { planPort } from "./ports.ts";
import { end, onProxyCore, untilListening } from "./processes.ts";

export interface Nginx {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startNginx(originPort: number, folder: string): Promise<Nginx> {
  const port = await planPort();
  const file = join(folder, "nginx.conf");
  await writeFile(
    file,
    `master_process off; daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  upstream origin { server 127.0.0.1:${originPort}; keepalive 128; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "Bearer real"; } }
}`,
  );
  const child = onProxyCore(["nginx", "-c", file, "-p", folder], "plain");
  await untilListening(port);
  return { port, pid: child.pid ?? 0, stop: () => end(child, "SIGQUIT") };
}
