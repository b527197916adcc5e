// The name of a session: a ULID, which sorts by when the session began.
import { randomBytes } from "node:crypto";
import { ulid } from "ulid";

/** Characters of a ULID that are chance; each takes five bits of a byte. */
const randomCharacters = 16;

/** Asks for chance once: by itself the library asks for each character. */
export function newSessionId(): string {
  const chance = randomBytes(randomCharacters);
  let next = 0;
  return ulid(undefined, () => chance.readUInt8(next++) / 256);
}
