// PostgreSQL 14 and 15 behind the proxy, before every client.
import { everyClientBefore } from "./older-servers.ts";

everyClientBefore(14, 15);
