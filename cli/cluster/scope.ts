// Which namespaces a person is shown: every one, or the context's own when they may see no more; said once, so that nobody takes a part for the whole.

export class Scope {
  readonly #own: string;
  #isNarrow = false;
  #isSaid = false;

  constructor(own: string) {
    this.#own = own;
  }

  /** Asks for every namespace; when that is forbidden, for our own, and from then on for that alone. */
  async ask<T>(
    work: (namespace: string | undefined) => Promise<T>,
    isForbidden: (error: unknown) => boolean,
  ): Promise<T> {
    if (this.#isNarrow) return await work(this.#own);
    try {
      return await work(undefined);
    } catch (error) {
      if (!isForbidden(error)) throw error;
      const answer = await work(this.#own);
      this.#isNarrow = true;
      return answer;
    }
  }

  /** To the person, when what they are shown is a part. */
  say(): void {
    if (!this.#isNarrow || this.#isSaid) return;
    this.#isSaid = true;
    process.stderr.write(
      `chaperone: you may not look at every namespace; this is namespace ${this.#own} (kubectl config set-context --current --namespace=… changes it)\n`,
    );
  }
}
