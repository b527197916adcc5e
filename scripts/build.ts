// Bundles each program into one file in dist/, the command line into pieces of which a command loads those it needs; beside them only what
// cannot be bundled: the SQL grammar's wasm, the store's worker, the script that nodes run as a CNI plugin, and the door to libc (koffi's binary).
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { build, type BuildOptions } from "esbuild";

const outdir = "dist";
const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };

/** CommonJS dependencies inside an ESM bundle still call `require` and read `__dirname`. */
const banner = [
  'import { createRequire as __createRequire } from "node:module";',
  "const require = __createRequire(import.meta.url);",
  "const __filename = import.meta.filename;",
  "const __dirname = import.meta.dirname;",
].join("\n");

const shared: BuildOptions = {
  bundle: true,
  platform: "node",
  target: "node24",
  format: "esm",
  outExtension: { ".js": ".mjs" },
  outdir,
  splitting: false,
  sourcemap: false,
  minifySyntax: true,
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
  loader: { ".yaml": "text" },
  define: { "process.env.CHAPERONE_VERSION": JSON.stringify(version) },
  external: ["pg-native", "cloudflare:sockets"],
};

await rm(outdir, { recursive: true, force: true });
await mkdir(outdir, { recursive: true });

const programs: { name: string; options: BuildOptions }[] = [
  { name: "proxy", options: { entryPoints: { proxy: "proxy/main.ts" }, banner: { js: banner } } },
  {
    name: "init",
    options: { entryPoints: { init: "proxy/redirect/init.ts" }, banner: { js: banner } },
  },
  {
    name: "verify",
    options: { entryPoints: { verify: "proxy/redirect/verify.ts" }, banner: { js: banner } },
  },
  {
    name: "node-agent",
    options: { entryPoints: { "node-agent": "proxy/node/main.ts" }, banner: { js: banner } },
  },
  {
    name: "operator",
    options: { entryPoints: { operator: "operator/main.ts" }, banner: { js: banner } },
  },
  {
    name: "chaperone",
    options: {
      entryPoints: { chaperone: "cli/main.ts" },
      // Eight megabytes cost a fifth of a second of processor at each start; most commands need a twentieth of them.
      splitting: true,
      chunkNames: "chaperone-[hash]",
      banner: { js: `#!/usr/bin/env node\n${banner}` },
    },
  },
  {
    name: "sqlite-worker",
    options: {
      entryPoints: { "sqlite-worker": "operator/audit/sqlite-worker.ts" },
      banner: { js: banner },
    },
  },
];

/**
 * One character beyond ASCII, and the whole source stands in memory with two bytes for each of its characters. What esbuild leaves of them stands in
 * comments and regular expressions, where an escape means the same.
 */
async function keepAscii(file: string): Promise<void> {
  const source = await readFile(file, "utf8");
  const escaped = source.replaceAll(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  await writeFile(file, escaped);
}

for (const program of programs) {
  const result = await build({ ...shared, ...program.options });
  const inputs = Object.keys(result.metafile?.inputs ?? {}).sort();
  await writeFile(`${outdir}/${program.name}.inputs.json`, JSON.stringify(inputs, null, 2) + "\n");
  // One for each pod: its memory counts.
  if (program.name === "proxy") await keepAscii(`${outdir}/proxy.mjs`);
}

const require = createRequire(import.meta.url);
await copyFile(require.resolve("libpg-query/wasm/libpg-query.wasm"), `${outdir}/libpg-query.wasm`);
await copyFile("proxy/node/plugin.sh", `${outdir}/plugin.sh`);
// Only Linux has what it is for; the images' C library is glibc.
const native = `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`;
if (process.platform === "linux") await copyFile(require.resolve(native), `${outdir}/koffi.node`);
await chmod(`${outdir}/chaperone.mjs`, 0o755);
