// PostgreSQL 16 and 17 behind the proxy, before every client.
import { everyClientBefore } from "./older-servers.ts";

everyClientBefore(16, 17);
