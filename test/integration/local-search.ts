// Searches everything a run wrote for what must not be there, in every spelling a program is likely to have given it.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface Finding {
  /** A file, or the name of a text. */
  readonly place: string;
  readonly needle: string;
  readonly spelling: string;
}

/** Every file below the directory, and the texts given, against every needle. */
export async function findSecrets(
  needles: readonly string[],
  directory: string,
  texts: Readonly<Record<string, string>> = {},
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const look = (place: string, bytes: Buffer): void => {
    findings.push(...findSecretsInBytes(needles, place, bytes));
  };
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    look(file, await readFile(file));
  }
  for (const [name, text] of Object.entries(texts)) look(name, Buffer.from(text));
  return findings;
}

export function findSecretsInBytes(
  needles: readonly string[],
  place: string,
  bytes: Buffer,
): Finding[] {
  return needles.flatMap((needle) =>
    spellings(needle)
      .filter(([, form]) => bytes.includes(form))
      .map(([spelling]) => ({ place, needle, spelling })),
  );
}

/** Base64 depends on what stands before: three alignments, without the characters that the neighbours change. */
function spellings(needle: string): readonly (readonly [string, Buffer])[] {
  const plain = Buffer.from(needle);
  const base64 = [0, 1, 2].map((pad): readonly [string, Buffer] => {
    const text = Buffer.concat([Buffer.alloc(pad), plain])
      .toString("base64")
      .replace(/=+$/, "");
    return [`base64+${pad}`, Buffer.from(text.slice(pad === 0 ? 0 : pad + 1, -2))];
  });
  return [
    ["plain", plain],
    ["utf16", Buffer.from(needle, "utf16le")],
    ["hex", Buffer.from(plain.toString("hex"))],
    ["HEX", Buffer.from(plain.toString("hex").toUpperCase())],
    ["reversed", Buffer.from(needle.split("").toReversed().join(""))],
    ...base64,
  ];
}
