// The password of a role, and the verifier that is all the database server ever sees of it: its log may hold statements, never the password.
import { createHash, createHmac, pbkdf2, randomBytes } from "node:crypto";
import { promisify } from "node:util";

/** 256 bits: nobody guesses it, so the iterations below need not make guessing slow. */
const passwordBytes = 32;

/** PostgreSQL's own default (`scram_iterations`). */
const iterations = 4_096;

const saltBytes = 16;
const keyBytes = 32;

const derive = promisify(pbkdf2);

/** Letters, digits, `-` and `_`: SASLprep (RFC 4013) leaves it as it is. */
export function randomPassword(): string {
  return randomBytes(passwordBytes).toString("base64url");
}

/**
 * What `CREATE ROLE … PASSWORD` takes in place of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`
 * (PostgreSQL manual, pg_authid; RFC 5802 section 3).
 *
 * @param password ASCII, because SASLprep is left out
 */
export async function scramVerifier(
  password: string,
  salt: Buffer = randomBytes(saltBytes),
): Promise<string> {
  const salted = await derive(password, salt, iterations, keyBytes, "sha256");
  const mac = (text: string): Buffer => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(mac("Client Key")).digest("base64");
  const serverKey = mac("Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${storedKey}:${serverKey}`;
}
