// One connection of this pod, as its protocol sees it: opens sessions, counts them, ends them when the grant does.
// Protocol folders call it and nothing else; it never sees a socket.
import { randomBytes } from "node:crypto";
import { KeptThinking } from "../policy/llm/anthropic/kept-thinking.ts";
import { TokenVault } from "../policy/mask/token-vault.ts";
import { Admissions } from "./budget/admission.ts";
import { ProxyError } from "./errors.ts";
import { Session, type GateOptions } from "./gate-session.ts";
import { systemClock } from "./grant/clock.ts";
import { MinuteCount } from "./limits.ts";
import type { Gate } from "./pipeline.ts";

/** A gate and the switch that ends its sessions when its grant does. */
export interface ManagedGate extends Gate {
  /** Ends every open session with this cause. */
  end(cause: ProxyError): void;
  readonly sessions: number;
  readonly admissions: Admissions;
}

export function createGate(options: GateOptions): ManagedGate {
  const name = `${options.connection.namespace}/${options.connection.name}`;
  const open = new Set<Session>();
  const rate = new MinuteCount();
  const { now } = options;
  const admissions = new Admissions(name, { ...systemClock(), now }, options.askBudgets);
  // In memory alone: what a token stands for is nobody's to find on a disk.
  const vault = new TokenVault(randomBytes(32));
  const shared = { rate, admissions, vault, thinking: new KeptThinking() };
  return {
    connection: options.connection,
    admissions,
    grant: (signal) => options.grants.acquire(name, signal),
    current: () => options.grants.current(name),
    pinTools: (tools, signal) => options.grants.pinTools({ ...tools, connection: name }, signal),
    open({ chain, label }) {
      const most = options.grants.current(name)?.bundle.limits.maxConnections;
      if (most !== undefined && open.size >= most) {
        throw new ProxyError(
          "LimitExceeded",
          `connection ${name} allows ${most} sessions of a pod at a time (limits.maxConnections); close one first`,
        );
      }
      const session = new Session(options, name, shared, chain, label, () => open.delete(session));
      open.add(session);
      return session;
    },
    end(cause) {
      for (const session of open) session.end(cause);
    },
    get sessions() {
      return open.size;
    },
  };
}
