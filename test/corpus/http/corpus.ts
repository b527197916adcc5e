// All of the HTTP corpus, by what it is about.
import { chunks } from "./chunks.ts";
import { connections, sizes } from "./connections.ts";
import type { Entry } from "./entry.ts";
import { framing } from "./framing.ts";
import { heads } from "./heads.ts";
import { hosts } from "./hosts.ts";
import { impossibleTargets, spellings, targets } from "./targets.ts";

export const corpus: Readonly<Record<string, readonly Entry[]>> = {
  "where a body ends": framing,
  "bodies in chunks": chunks,
  "request lines and headers": heads,
  "whom a request is for": hosts,
  "targets with two readings": targets,
  "targets that cannot be sent": impossibleTargets,
  "spellings of a target": spellings,
  "several requests on one connection": connections,
  sizes: sizes,
};
