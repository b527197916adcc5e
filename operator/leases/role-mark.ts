// What COMMENT ON ROLE says of a role made for a grant: whose it is and until when, so that it can be swept by whoever comes after a crash.
import { randomBytes } from "node:crypto";

/** Every role made for a grant begins so. */
export const rolePrefix = "chaperone_";

/** 60 bits: two roles of one server never meet. */
const nameBytes = 8;

export interface RoleMark {
  /** Which Chaperone made it: one key set is one installation. */
  readonly installation: string;
  /** `namespace/name`. */
  readonly connection: string;
  /** Its privileges are in this database alone. */
  readonly database: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly pod: string;
  readonly serviceAccount: string;
  /** Milliseconds since 1970 by the database server's clock: the role may be dropped from then on. */
  readonly expiresAt: number;
}

export function newRoleName(): string {
  return `${rolePrefix}${randomBytes(nameBytes).toString("hex")}`;
}

/** One line of JSON, readable in `\du+`. */
export function writeMark({ expiresAt, ...mark }: RoleMark): string {
  return JSON.stringify({
    madeBy: "chaperone.dev",
    ...mark,
    expires: new Date(expiresAt).toISOString(),
  });
}

/** Undefined for a comment that is not ours, or not one of this version's. */
export function readMark(comment: string | null): RoleMark | undefined {
  if (comment === null) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(comment);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(value));
  if (fields.get("madeBy") !== "chaperone.dev") return undefined;
  const expiresAt = Date.parse(String(fields.get("expires")));
  if (Number.isNaN(expiresAt)) return undefined;
  const text = (name: string): string => {
    const field = fields.get(name);
    return typeof field === "string" ? field : "";
  };
  return {
    installation: text("installation"),
    connection: text("connection"),
    database: text("database"),
    podUid: text("podUid"),
    namespace: text("namespace"),
    pod: text("pod"),
    serviceAccount: text("serviceAccount"),
    expiresAt,
  };
}
