// Writes the CA bundle into our webhook configurations, so that the API server trusts us; only where it differs.
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/kube-error.ts";
import { fieldAt, listAt, objectPath, textAt, type ResourceType } from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";

/** An upgrade of the chart may take the bundle out; labelled pods are refused until it is back. */
export const bundleIntervalMs = 10_000;

const callTimeoutMs = 10_000;

export interface WebhookBundleOptions {
  readonly client: KubeClient;
  /** Name of both configurations. */
  readonly name: string;
  readonly bundle: () => string;
  readonly onProblem: (error: unknown) => void;
}

export class WebhookBundle {
  readonly #options: WebhookBundleOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: WebhookBundleOptions) {
    this.#options = options;
  }

  /** Writes at once, and again whenever it is found missing. */
  start(): void {
    const round = (): void => {
      this.#writing = this.write().catch(this.#options.onProblem);
    };
    round();
    this.#timer = setInterval(round, bundleIntervalMs);
    this.#timer.unref();
  }

  /** How many configurations had to be changed. */
  async write(): Promise<void> {
    await this.#writing;
    const { MutatingWebhookConfiguration, ValidatingWebhookConfiguration } = resourceTypes;
    for (const type of [MutatingWebhookConfiguration, ValidatingWebhookConfiguration])
      await this.#writeOne(type);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#writing;
  }

  async #writeOne(type: ResourceType): Promise<void> {
    const { client, name, bundle } = this.#options;
    const path = objectPath(type, undefined, name);
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(callTimeoutMs)]);
    try {
      const patch = bundlePatch(await client.call({ method: "GET", path }, signal), bundle());
      if (patch.length > 0)
        await client.call(
          { method: "PATCH", path, contentType: "application/json-patch+json", body: patch },
          signal,
        );
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      // Changed or reordered between our look and our write: the next round sees it.
      if (error instanceof KubeError && (error.isConflict || error.status === 422)) return;
      throw error;
    }
  }
}

interface PatchStep {
  readonly op: "test" | "add";
  readonly path: string;
  readonly value: string;
}

/** Each step names its webhook first, so that a list that was reordered meanwhile is refused as a whole. */
export function bundlePatch(configuration: unknown, bundle: string): PatchStep[] {
  const wanted = Buffer.from(bundle).toString("base64");
  return listAt(configuration, "webhooks").flatMap((webhook, index): PatchStep[] => {
    if (fieldAt(webhook, "clientConfig", "caBundle") === wanted) return [];
    return [
      { op: "test", path: `/webhooks/${index}/name`, value: textAt(webhook, "name") ?? "" },
      { op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: wanted },
    ];
  });
}
