/** Fetches Python packages beforehand, so that an image is built from a folder and without a network. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { readConfig } from "./config.ts";
import type { ClusterConfig } from "./config.ts";
import { command } from "./command.ts";

/** A few dozen wheels from a slow index. */
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;

/** The Python of the base image. Only ready-built wheels are taken, newest C library first. */
const PYTHON = "3.11";
const PLATFORMS = ["manylinux_2_28", "manylinux_2_17", "manylinux2014"];

/**
 * Puts the wheels of some requirements, and of all they need, into a folder. The image then installs them with
 * `pip install --no-index --find-links DIR REQUIREMENTS`.
 */
export async function downloadWheels(
  requirements: readonly string[],
  dir: string,
  config: ClusterConfig = readConfig(),
): Promise<void> {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  const key = createHash("sha256")
    .update([machine, PYTHON, ...requirements].join("\n"))
    .digest("hex")
    .slice(0, 12);
  const kept = path.join(config.wheels, key);
  if (!existsSync(kept)) {
    const fresh = `${kept}.${process.pid}`;
    await mkdir(fresh, { recursive: true });
    const platforms = PLATFORMS.flatMap((platform) => ["--platform", `${platform}_${machine}`]);
    const target = [
      "--only-binary",
      ":all:",
      "--implementation",
      "cp",
      "--python-version",
      PYTHON,
      ...platforms,
    ];
    try {
      await command(
        "python3",
        ["-m", "pip", "download", "--quiet", "--dest", fresh, ...target, ...requirements],
        {
          timeoutMs: DOWNLOAD_TIMEOUT_MS,
        },
      );
      await rename(fresh, kept);
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
  }
  await cp(kept, dir, { recursive: true });
}
