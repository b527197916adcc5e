// The one door to libc, for what Node does not offer. Its library (koffi) is loaded from its own file, so that who has no use for it does not pay for it.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export interface Libc {
  /** @param declaration in C, `int getsockopt(int fd, ...)`; `_Out_` and `_Inout_` mark what the callee writes */
  call(declaration: string): (...args: readonly unknown[]) => number;
  /** Of the last call. */
  errno(): number;
}

/** @throws Error naming platform and Node where there is no library for them */
export function openLibc(): Libc {
  const file = nativeLibrary();
  try {
    const koffi: unknown = createRequire(import.meta.url)(file);
    const library = callable(koffi, "load")(null);
    const declare = callable(library, "func");
    const errno = callable(koffi, "errno");
    return {
      call(declaration) {
        const found = declare(declaration);
        if (!isFunction(found)) throw new Error(`libc has no ${declaration}`);
        return (...args) => Number(found(...args));
      },
      errno: () => Number(errno()),
    };
  } catch (cause) {
    throw new Error(
      `interception redirect needs ${file}, which cannot be loaded on ${process.platform} ${process.arch} with Node ${process.version}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/** Beside the bundle in the image; in a checkout, the package of this platform. */
function nativeLibrary(): string {
  const beside = join(import.meta.dirname, "koffi.node");
  if (existsSync(beside)) return beside;
  const { platform, arch } = process;
  return `@koromix/koffi-${platform}-${arch}/${platform}_${arch}/koffi.node`;
}

type AnyFunction = (...args: readonly unknown[]) => unknown;

function isFunction(value: unknown): value is AnyFunction {
  return typeof value === "function";
}

function callable(owner: unknown, name: string): AnyFunction {
  const found = fieldOf(owner, name);
  if (!isFunction(found)) throw new Error(`koffi has no ${name}`);
  return (...args) => Reflect.apply(found, owner, args);
}

/** Of an object or a function; undefined of anything else. */
export function fieldOf(owner: unknown, name: string): unknown {
  return (typeof owner === "object" && owner !== null) || typeof owner === "function"
    ? Reflect.get(owner, name)
    : undefined;
}
