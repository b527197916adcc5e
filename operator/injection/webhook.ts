// The admission webhook: one Fastify plugin with /mutate (pods), /validate (our kinds) and /stamp (who did it). Answers every review
// under its uid with yes or no and a sentence; it never writes anything, so a dry run is like any other.
import type { FastifyInstance, FastifyPluginCallback } from "fastify";
import { createValidator } from "../../crds/validate.ts";
import type { AccessReviewer } from "../kube/access.ts";
import { isJsonObject } from "../kube/objects.ts";
import type { ResourceView } from "../resources.ts";
import { admitGoverning, isGoverning } from "./governing.ts";
import { inject, type InjectionDecision } from "./inject.ts";
import { admitPortForward, isPortForward, type PortForwards } from "./port-forward.ts";
import { readReview, reviewOf, type AdmissionAnswer, type AdmissionRequest } from "./review.ts";
import { admitSession, isNewSession, stampSession } from "./sessions.ts";
import { deployerPatch, isStamped, refuseAuthor, stamp } from "./stamps.ts";
import type { InjectionSettings } from "./settings.ts";

/** Two objects of etcd's limit (1.5 MiB), escaped, with what stands around them. */
const maxReviewBytes = 8 * 1024 * 1024;

/** Below the 5 s after which the API server gives up, so that it hears why. */
const answerWithinMs = 4_000;

export interface WebhookOptions extends PortForwards {
  /** Asked for each pod: certificates rotate. */
  readonly settings: () => InjectionSettings;
  readonly view: Pick<ResourceView, "connection" | "connectionsIn" | "policiesIn">;
  /** False until the view holds everything once: before that, absence means nothing. */
  readonly isSynced: () => boolean;
  readonly access: AccessReviewer;
  readonly now: () => number;
  /** For metrics: what became of a pod. */
  readonly onInjection?: (decision: InjectionDecision) => void;
}

type Handler = (
  request: AdmissionRequest,
  signal: AbortSignal,
) => AdmissionAnswer | Promise<AdmissionAnswer>;

export function createWebhookRoutes(options: WebhookOptions): FastifyPluginCallback {
  const { access, now } = options;
  const validator = createValidator();

  const mutate: Handler = (request) => {
    if (request.resource !== "pods" || request.operation !== "CREATE" || request.subresource !== "")
      return { allowed: true };
    return admitPod(request, options);
  };
  const validate: Handler = (request, signal) => {
    if (isGoverning(request))
      return refuseAuthor(request) ?? admitGoverning(request, validator, access, signal);
    if (isPortForward(request)) return admitPortForward(request, options);
    return isNewSession(request) ? admitSession(request, now()) : { allowed: true };
  };
  const stamped: Handler = (request) => {
    if (isStamped(request)) return stamp(request);
    return isNewSession(request) ? stampSession(request, now()) : { allowed: true };
  };

  return (app, _options, done) => {
    route(app, "/mutate", mutate);
    route(app, "/validate", validate);
    route(app, "/stamp", stamped);
    done();
  };
}

function route(app: FastifyInstance, path: string, handler: Handler): void {
  app.post(path, { bodyLimit: maxReviewBytes }, async (request, reply) => {
    const review = readReview(request.body);
    if (review === undefined)
      return await reply
        .code(400)
        .send({ error: "the body is not an AdmissionReview of admission.k8s.io/v1" });
    try {
      const answer = await handler(review, AbortSignal.timeout(answerWithinMs));
      return reviewOf(review.uid, answer);
    } catch (error) {
      request.log.error({ event: "admission-failed", path, error: messageOf(error) });
      return reviewOf(review.uid, {
        allowed: false,
        code: 503,
        message: "chaperone could not check this at the moment; try again",
      });
    }
  });
}

function admitPod(request: AdmissionRequest, options: WebhookOptions): AdmissionAnswer {
  const { object, namespace } = request;
  if (!isJsonObject(object)) return { allowed: false, code: 422, message: "there is no pod" };
  if (!options.isSynced())
    return {
      allowed: false,
      code: 503,
      message: "chaperone is starting and does not know the Connections yet; try again",
    };
  const decision = inject(object, { namespace, settings: options.settings(), view: options.view });
  options.onInjection?.(decision);
  switch (decision.kind) {
    case "patch":
      return {
        allowed: true,
        // Last: by then the pod has annotations.
        patch: [...decision.patch, ...deployerPatch(request)],
        warnings: decision.warnings,
      };
    case "skip":
      return { allowed: true };
    case "refuse":
      return { allowed: false, code: 403, message: `${decision.reason}: ${decision.message}` };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
