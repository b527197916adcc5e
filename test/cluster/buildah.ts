/** Builds container images without a daemon and keeps them in a storage of the cluster's own. */
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { ClusterConfig } from "./config.ts";
import { command, succeeds } from "./command.ts";

/** An image with a few hundred megabytes of packages takes a minute or two. */
const BUILD_TIMEOUT_MS = 10 * 60_000;

/** A short name such as `node:24-bookworm-slim` means Docker's library here as it does for Docker. */
const REGISTRIES = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n';

/** Images come from this machine only, where nobody has signed them. */
const SIGNATURES = '{"default": [{"type": "insecureAcceptAnything"}]}\n';

export interface ImageSource {
  /** Name and tag; without a registry it is Docker's library, as for Docker. */
  readonly name: string;
  readonly contextDir: string;
  /** Default: `Dockerfile` in the context. */
  readonly dockerfile?: string;
  /** Stage to build; default: the last one. */
  readonly target?: string;
}

export class Buildah {
  readonly #folder: string;

  constructor(config: ClusterConfig) {
    this.#folder = path.join(config.images, "buildah");
  }

  /** Builds an image; base images must be there already, nothing is pulled. */
  async build({ name, contextDir, dockerfile, target }: ImageSource): Promise<void> {
    const file = dockerfile ?? path.join(contextDir, "Dockerfile");
    const options = [
      "--isolation",
      "chroot",
      // Steps that nothing changed are kept, packages above all.
      "--layers",
      "--pull-never",
      "--format",
      "docker",
      "--signature-policy",
      await this.#signatures(),
      ...(target === undefined ? [] : ["--target", target]),
    ];
    await this.#run(["bud", ...options, "--tag", fullName(name), "--file", file, contextDir]);
    // The image that had the name before would stay for ever.
    await this.#run(["rmi", "--prune"]);
  }

  /** Writes an image to a file that `docker load`, `ctr images import` and `kind load image-archive` understand. */
  async save(name: string, archive: string): Promise<void> {
    const fresh = `${archive}.${process.pid}`;
    await mkdir(path.dirname(archive), { recursive: true });
    await rm(fresh, { force: true });
    const full = fullName(name);
    await this.#run([
      "push",
      "--signature-policy",
      await this.#signatures(),
      full,
      `docker-archive:${fresh}:${full}`,
    ]);
    await rename(fresh, archive);
  }

  /** Takes an image back into the storage from the file `save` wrote. */
  async load(archive: string): Promise<void> {
    await this.#run([
      "pull",
      "--signature-policy",
      await this.#signatures(),
      `docker-archive:${archive}`,
    ]);
  }

  async has(name: string): Promise<boolean> {
    return await succeeds(
      "buildah",
      [...this.#storage(), "inspect", "--type", "image", fullName(name)],
      await this.#environment(),
    );
  }

  async #run(args: readonly string[]): Promise<void> {
    await command("buildah", [...this.#storage(), ...args], {
      ...(await this.#environment()),
      timeoutMs: BUILD_TIMEOUT_MS,
    });
  }

  /** Plain copies of every layer: slower than overlay, and nothing stays mounted. */
  #storage(): string[] {
    return [
      "--storage-driver",
      "vfs",
      "--root",
      path.join(this.#folder, "storage"),
      "--runroot",
      path.join(this.#folder, "run"),
    ];
  }

  async #environment(): Promise<{ env: NodeJS.ProcessEnv }> {
    const file = path.join(this.#folder, "registries.conf");
    await mkdir(this.#folder, { recursive: true });
    await writeFile(file, REGISTRIES);
    return { env: { CONTAINERS_REGISTRIES_CONF: file } };
  }

  async #signatures(): Promise<string> {
    const file = path.join(this.#folder, "policy.json");
    await mkdir(this.#folder, { recursive: true });
    await writeFile(file, SIGNATURES);
    return file;
  }
}

/**
 * The full name of an image, as Docker and the kubelet complete a short one.
 *
 * @example fullName('chaperone:dev') === 'docker.io/library/chaperone:dev'
 */
export function fullName(name: string): string {
  const [first = "", ...rest] = name.split("/");
  const hasRegistry = rest.length > 0 && /[.:]|^localhost$/.test(first);
  const located = hasRegistry ? name : `docker.io/${rest.length === 0 ? "library/" : ""}${name}`;
  return /:[^/]+$/.test(located) ? located : `${located}:latest`;
}
