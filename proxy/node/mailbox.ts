// The folder in which a node's plugins leave requests and find answers: files, because what a plugin is made of (plugin.sh) can write and read nothing else.
// Root's alone on either side. A request is a file that appears whole, an answer too; each plugin takes its own away.
import { chmod, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { watchFolder, type FolderWatch } from "./folder.ts";

/** Each is a call of nft or two; more at once would only wait for the kernel's one lock. */
const maxAtOnce = 4;
/** Annotations of a pod are 256 KiB at most; the rest of a request is a few kilobytes, and JSON's escapes make six bytes of one. */
const maxRequestBytes = 2 * 1024 * 1024;
/** Longer than any plugin waits: nobody comes for it. */
const forgottenMs = 5 * 60_000;
/** Where the kernel tells nothing, a pod waits this much longer to start. */
const lookMs = 500;

/** A plugin's three files, as plugin.sh names them. */
const suffixes = { fresh: ".new", request: ".request", answer: ".answer" } as const;

export class Mailbox {
  readonly #directory: string;
  readonly #answerTo: (request: string) => Promise<string>;
  readonly #onError: (error: unknown) => void;
  readonly #taken = new Map<string, Promise<void>>();
  #watch: FolderWatch | undefined;
  #looking = Promise.resolve();
  #isWaiting = false;

  /** @param answerTo one line; must not throw */
  constructor(
    directory: string,
    answerTo: (request: string) => Promise<string>,
    onError: (error: unknown) => void,
  ) {
    this.#directory = directory;
    this.#answerTo = answerTo;
    this.#onError = onError;
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await chmod(this.#directory, 0o700);
    this.#watch = watchFolder(this.#directory, lookMs, () => this.#look(), this.#onError);
    this.#look();
  }

  /** Requests that came are answered still. */
  async close(): Promise<void> {
    this.#watch?.close();
    await this.#looking;
    await Promise.all(this.#taken.values());
  }

  /** However many files come meanwhile, one round more sees them all. */
  #look(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#looking = this.#looking
      .then(() => {
        this.#isWaiting = false;
        return this.#takeAll();
      })
      .catch(this.#onError);
  }

  async #takeAll(): Promise<void> {
    const names = await readdir(this.#directory);
    const letters = new Set(
      names.flatMap((name) =>
        name.endsWith(suffixes.request) ? [name.slice(0, -suffixes.request.length)] : [],
      ),
    );
    for (const letter of letters)
      if (!this.#taken.has(letter) && this.#taken.size < maxAtOnce && !isIn(names, letter))
        this.#take(letter);
    for (const name of names) await this.#forget(name);
  }

  #take(letter: string): void {
    const done = this.#answer(letter)
      .catch(this.#onError)
      .finally(() => {
        this.#taken.delete(letter);
        this.#look();
      });
    this.#taken.set(letter, done);
  }

  async #answer(letter: string): Promise<void> {
    const request = join(this.#directory, `${letter}${suffixes.request}`);
    const text = await readBounded(request);
    if (text === undefined) return; // given up
    const answer = join(this.#directory, `${letter}${suffixes.answer}`);
    await writeFile(`${answer}${suffixes.fresh}`, `${await this.#answerTo(text)}\n`);
    await rename(`${answer}${suffixes.fresh}`, answer);
  }

  async #forget(name: string): Promise<void> {
    if (!Object.values(suffixes).some((suffix) => name.endsWith(suffix))) return;
    const file = join(this.#directory, name);
    const found = await stat(file).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > forgottenMs)
      await rm(file, { force: true });
  }
}

/** Answered, and not yet read. */
function isIn(names: readonly string[], letter: string): boolean {
  return names.includes(`${letter}${suffixes.answer}`);
}

/** What is too long is cut, so that it is answered: with an error, since it is no configuration any more. Undefined when it is not there any more. */
async function readBounded(file: string): Promise<string | undefined> {
  const handle = await open(file, "r").catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(Math.min(size, maxRequestBytes));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
