// The KeyStore of local mode: one file per revision, readable by its owner alone, replaced by compare-and-swap through link(2).
import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { KeyStore, StoredKeys } from "./keys.ts";

/** Two keys and a secret take under 1 KiB; anything larger is not our file. */
const maxKeyFileBytes = 16 * 1024;

const filePattern = /^keys\.(\d{1,15})\.json$/;

/** A listing can name a file that a newer revision removes before it is read; each round sees a newer one. */
const maxReadRounds = 10;

/** Keeps keys in `directory` (0700) as `keys.<revision>.json` (0600). */
export function keyFileStore(directory: string): KeyStore {
  return {
    async load() {
      for (let round = 0; round < maxReadRounds; round += 1) {
        const revision = (await revisions(directory)).at(-1);
        if (revision === undefined) return { keys: undefined, revision: "0" };
        const keys = await readKeys(fileOf(directory, revision));
        if (keys !== undefined) return { keys, revision: String(revision) };
      }
      throw new Error(`${directory}: key files keep changing; is another chaperone writing them?`);
    },

    async save(keys, revision) {
      const next = Number(revision) + 1;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await chmod(directory, 0o700);
      const draft = join(directory, `.draft-${randomBytes(9).toString("base64url")}`);
      try {
        await writeDurably(draft, JSON.stringify(keys));
        if (!(await linked(draft, fileOf(directory, next)))) return false;
      } finally {
        await rm(draft, { force: true });
      }
      const present = await revisions(directory);
      if (present.at(-1) !== next) {
        // The revision we started from was so old that its successor had been removed already.
        await rm(fileOf(directory, next), { force: true });
        return false;
      }
      for (const old of present.filter((candidate) => candidate < Number(revision)))
        await rm(fileOf(directory, old), { force: true });
      return true;
    },
  };
}

function fileOf(directory: string, revision: number): string {
  return join(directory, `keys.${revision}.json`);
}

async function revisions(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const digits = filePattern.exec(name)?.[1];
      return digits === undefined ? [] : [Number(digits)];
    })
    .sort((a, b) => a - b);
}

async function readKeys(path: string): Promise<StoredKeys | undefined> {
  const file = await open(path, "r").catch((error: unknown) => {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { mode, size } = await file.stat();
    if ((mode & 0o077) !== 0)
      throw new Error(
        `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`,
      );
    if (size > maxKeyFileBytes)
      throw new Error(`${path} is larger than ${maxKeyFileBytes} bytes; it is not a key file`);
    return parseKeys(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/** Checks the shape and names what is wrong, never the content. */
export function parseKeys(text: string, where: string): StoredKeys {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${where} is not JSON; remove it and new keys are made`);
  }
  if (!isStoredKeys(value))
    throw new Error(
      `${where} does not hold signing keys of version 1; remove it and new keys are made`,
    );
  return value;
}

function isStoredKeys(value: unknown): value is StoredKeys {
  if (
    !isRecord(value) ||
    value["version"] !== 1 ||
    typeof value["secret"] !== "string" ||
    !isTime(value["since"])
  )
    return false;
  if (Buffer.from(value["secret"], "base64url").length < 32 || !isStoredKey(value["current"]))
    return false;
  const other = value["other"];
  return (
    other === undefined ||
    (isRecord(other) &&
      (other["role"] === "next" || other["role"] === "previous") &&
      isStoredKey(other["key"]))
  );
}

function isStoredKey(value: unknown): boolean {
  if (!isRecord(value) || typeof value["kid"] !== "string" || !isTime(value["createdAt"]))
    return false;
  const jwk = value["jwk"];
  return (
    isRecord(jwk) &&
    jwk["kty"] === "OKP" &&
    jwk["crv"] === "Ed25519" &&
    typeof jwk["x"] === "string" &&
    typeof jwk["d"] === "string"
  );
}

function isTime(value: unknown): boolean {
  return typeof value === "string" && Number.isFinite(Date.parse(value));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return (await stat(to)).isFile();
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
