// Refuses to put the store where SQLite's WAL is unsafe: on network filesystems shared memory and locks do not hold.
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";

/** Magic numbers of statfs(2), linux/magic.h. */
const networkFilesystems: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x517b, "SMB"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
  [0x5346414f, "AFS"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
]);

export function networkFilesystem(type: number): string | undefined {
  return networkFilesystems.get(type >>> 0);
}

/** @param file the database file, whose directory exists */
export async function refuseNetworkFilesystem(file: string): Promise<void> {
  const name = networkFilesystem((await statfs(dirname(file))).type);
  if (name === undefined) return;
  throw new Error(
    `the audit store cannot live on ${name} (${file}): SQLite's write-ahead log is unsafe there. Use a local or block volume, or PostgreSQL by DSN`,
  );
}
