// POST /v1/events: a batch of one proxy's events, known to be its own before it is stored.
import type { FastifyInstance } from "fastify";
import {
  calculateJwkThumbprint,
  compactVerify,
  decodeProtectedHeader,
  importJWK,
  type JWK,
} from "jose";
import { IngestRefused } from "../../../contract/chain.ts";
import { lastHash, openDelivery, type UnreadDelivery } from "../../../contract/delivery.ts";
import { SubjectNotOwn } from "../../audit/check.ts";
import { subjectOf } from "../../grants/exchange.ts";
import { proofAlgorithms } from "../../grants/dpop.ts";
import type { ApiContext } from "../context.ts";
import { type ApiError, badRequest, forbidden } from "../errors.ts";

/** One event may carry a megabyte of texts, larger once JSON escapes them; a batch holds at least one event. */
const maxBatchBytes = 16 * 1024 * 1024;

export function eventRoutes(app: FastifyInstance, context: ApiContext): void {
  const { events, grantOf, signalOf, streamsOf } = context;

  app.addContentTypeParser(
    "application/x-ndjson",
    { parseAs: "buffer", bodyLimit: maxBatchBytes },
    (_request, body, done) => {
      try {
        done(null, openDelivery(Buffer.from(body)));
      } catch {
        done(malformedLines());
      }
    },
  );

  app.post(
    "/v1/events",
    { onRequest: context.requireProxy, bodyLimit: maxBatchBytes },
    async (request, reply) => {
      const grant = grantOf(request);
      const subject = subjectOf(grant.subject);
      const delivery = deliveryOf(request.body);
      const { stream } = delivery;
      if (!isOwnStream(stream, streamsOf(subject)))
        throw forbidden(
          "StreamNotOwn",
          `stream ${stream} does not belong to pod ${subject.namespace}/${subject.pod}`,
        );
      await checkHead(delivery, grant.binding.jkt);
      try {
        return await events.ingest({ ...delivery, subject }, signalOf(request));
      } catch (error) {
        if (error instanceof SubjectNotOwn) throw forbidden("SubjectNotOwn", error.message);
        if (!(error instanceof IngestRefused)) throw error;
        // The proxy goes on from what this says: it is no failure, and no retry would help.
        return await reply.code(409).send(error.refusal);
      }
    },
  );
}

function malformedLines(): ApiError {
  return badRequest("MalformedLines", "a line of the body is no JSON");
}

function deliveryOf(body: unknown): UnreadDelivery {
  if (typeof body === "object" && body !== null && "lines" in body && body.lines instanceof Buffer)
    return body as UnreadDelivery; // as the parser above made it
  throw badRequest("NotNdjson", "events come as application/x-ndjson");
}

/** A pod writes its own stream, and what that goes on as: `NAME.N`. */
function isOwnStream(stream: string, own: readonly string[]): boolean {
  return own.some(
    (name) =>
      stream === name ||
      (stream.startsWith(`${name}.`) && /^\d{1,9}$/.test(stream.slice(name.length + 1))),
  );
}

/** `head` is the last event's hash, signed by the key the grant is bound to: the proxy cannot later say that it sent something else. */
async function checkHead(delivery: UnreadDelivery, jkt: string): Promise<void> {
  const last = lastHashOf(delivery);
  if (last === undefined) throw badRequest("BatchEmpty", "a batch holds at least one event");
  let payload: Uint8Array;
  try {
    const { jwk, alg } = decodeProtectedHeader(delivery.head);
    const known = proofAlgorithms.find((name) => name === alg);
    if (
      jwk === undefined ||
      known === undefined ||
      (await calculateJwkThumbprint(jwk as JWK, "sha256")) !== jkt
    )
      throw new Error("another key");
    ({ payload } = await compactVerify(delivery.head, await importJWK(jwk as JWK, known), {
      algorithms: [known],
    }));
  } catch {
    throw badRequest("HeadSignature", "head is not signed by the key of this proxy's grant");
  }
  if (Buffer.from(payload).toString("utf8") !== last)
    throw badRequest("HeadMismatch", "head signs another hash than that of the last event");
}

function lastHashOf(delivery: UnreadDelivery): unknown {
  try {
    return lastHash(delivery);
  } catch {
    throw malformedLines();
  }
}
