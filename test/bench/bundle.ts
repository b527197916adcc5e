// The proxy of a benchmark as it is shipped: one bundled file. From its sources, what strips their types would be a fifth of what is measured.
import { copyFile, mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";

const folder = join(import.meta.dirname, "../../dist/bench");
const banner = [
  'import { createRequire as __createRequire } from "node:module";',
  "const require = __createRequire(import.meta.url);",
  "const __filename = import.meta.filename;",
  "const __dirname = import.meta.dirname;",
].join("\n");

let bundled: Promise<string> | undefined;

/** The file to run; made once for each run. */
export function bundledProxy(): Promise<string> {
  bundled ??= bundle();
  return bundled;
}

async function bundle(): Promise<string> {
  const outfile = join(folder, "proxy-child.mjs");
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: [join(import.meta.dirname, "proxy-child.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    charset: "ascii",
    legalComments: "none",
    logLevel: "warning",
    loader: { ".yaml": "text" },
    external: ["pg-native", "cloudflare:sockets"],
    banner: { js: banner },
  });
  const require = createRequire(import.meta.url);
  await copyFile(
    require.resolve("libpg-query/wasm/libpg-query.wasm"),
    join(folder, "libpg-query.wasm"),
  );
  const native = `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`;
  if (process.platform === "linux")
    await copyFile(require.resolve(native), join(folder, "koffi.node"));
  return outfile;
}
