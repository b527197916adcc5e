// Asks the API server whether a token still holds: TokenReview with our audience, remembered for seconds by the token's hash.
import { createHash } from "node:crypto";
import { podAudience } from "../../contract/control.ts";
import { TokenRefused } from "../resources.ts";
import type { KubeClient } from "./client.ts";
import { collectionPath, fieldAt, listAt, textAt } from "./objects.ts";
import { resourceTypes } from "./resource-types.ts";
import { abortable } from "./secrets.ts";

/** The API server itself believes a token for 10 s; with the pod watched, this decides only how soon a deleted service account counts. */
export const reviewTtlMs = 30_000;

/** "No" is remembered only as long as it takes to stop a loop. */
const refusalTtlMs = 1_000;

/** Live tokens of twice as many pods as one replica serves. */
const maxRemembered = 20_000;

const reviewTimeoutMs = 5_000;

export interface Reviewed {
  readonly username: string;
  readonly podUid: string | undefined;
}

type Verdict = { readonly reviewed: Reviewed } | { readonly refused: string };

export class TokenReviews {
  readonly #client: KubeClient;
  readonly #now: () => number;
  readonly #known = new Map<string, { readonly verdict: Verdict; readonly until: number }>();
  readonly #asking = new Map<string, Promise<Verdict>>();

  constructor(client: KubeClient, now: () => number) {
    this.#client = client;
    this.#now = now;
  }

  /** `expiresAt` in milliseconds bounds how long the answer is remembered. Throws TokenRefused. */
  async review(token: string, expiresAt: number, signal: AbortSignal): Promise<Reviewed> {
    const hash = createHash("sha256").update(token).digest("base64url");
    const known = this.#known.get(hash);
    const verdict =
      known !== undefined && known.until > this.#now()
        ? known.verdict
        : await this.#ask(hash, token, expiresAt, signal);
    if ("refused" in verdict)
      throw new TokenRefused(
        "TokenRejected",
        `the API server does not accept the token: ${verdict.refused}`,
      );
    return verdict.reviewed;
  }

  async #ask(
    hash: string,
    token: string,
    expiresAt: number,
    signal: AbortSignal,
  ): Promise<Verdict> {
    let asking = this.#asking.get(hash);
    if (asking === undefined) {
      asking = this.#fetch(token).then((verdict) => this.#remember(hash, verdict, expiresAt));
      this.#asking.set(hash, asking);
      asking.finally(() => this.#asking.delete(hash)).catch(() => undefined);
    }
    try {
      return await abortable(asking, signal);
    } catch (cause) {
      throw new TokenRefused(
        "ReviewUnavailable",
        "the API server cannot be asked about the token at the moment",
        { cause, temporary: true },
      );
    }
  }

  #remember(hash: string, verdict: Verdict, expiresAt: number): Verdict {
    this.#known.delete(hash);
    const oldest = this.#known.size >= maxRemembered ? this.#known.keys().next().value : undefined;
    if (oldest !== undefined) this.#known.delete(oldest);
    const until =
      "refused" in verdict
        ? this.#now() + refusalTtlMs
        : Math.min(this.#now() + reviewTtlMs, expiresAt);
    this.#known.set(hash, { verdict, until });
    return verdict;
  }

  async #fetch(token: string): Promise<Verdict> {
    const type = resourceTypes.TokenReview;
    const body = {
      apiVersion: "authentication.k8s.io/v1",
      kind: type.kind,
      spec: { token, audiences: [podAudience] },
    };
    const answer = await this.#client.call(
      { method: "POST", path: collectionPath(type), body },
      AbortSignal.timeout(reviewTimeoutMs),
    );
    const status = fieldAt(answer, "status");
    if (fieldAt(status, "authenticated") !== true)
      return { refused: firstLine(textAt(status, "error")) };
    // An API server that knows no audiences says yes to any; only our own in its answer means that it looked.
    if (!listAt(status, "audiences").includes(podAudience))
      return { refused: `it does not confirm audience ${podAudience}` };
    const [podUid] = listAt(status, "user", "extra", "authentication.kubernetes.io/pod-uid");
    return {
      reviewed: {
        username: textAt(status, "user", "username") ?? "",
        podUid: typeof podUid === "string" ? podUid : undefined,
      },
    };
  }
}

/** The API server says why in a sentence that may go on for long. */
function firstLine(error: string | undefined): string {
  return (error ?? "no reason given").split("\n", 1)[0]?.slice(0, 200) ?? "";
}
