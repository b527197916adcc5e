// PostgreSQL 14 behind the proxy, before every client.
import { everyClientBefore } from "./older-servers.ts";

everyClientBefore(14);
