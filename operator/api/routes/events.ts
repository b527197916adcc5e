// POST /v1/events: a batch of one proxy's events, checked to be its own before it is stored.
import type { FastifyInstance } from "fastify";
import {
  calculateJwkThumbprint,
  compactVerify,
  decodeProtectedHeader,
  importJWK,
  type JWK,
} from "jose";
import { IngestRefused, maxBatchEvents } from "../../../contract/chain.ts";
import type { EventBatch, EventDelivery } from "../../../contract/control.ts";
import { batchOf, parseDelivery } from "../../../contract/delivery.ts";
import type { EventSubject } from "../../../contract/event.ts";
import { subjectOf } from "../../grants/exchange.ts";
import { proofAlgorithms } from "../../grants/dpop.ts";
import type { ApiContext } from "../context.ts";
import { badRequest, forbidden } from "../errors.ts";

/** One event may carry a megabyte of texts, larger once JSON escapes them; a batch holds at least one event. */
const maxBatchBytes = 16 * 1024 * 1024;
/** Request, answer, rows and parameters, with room for more kinds. */
const maxContentsPerEvent = 16;

export function eventRoutes(app: FastifyInstance, context: ApiContext): void {
  const { events, grantOf, signalOf, streamsOf } = context;

  app.addContentTypeParser(
    "application/x-ndjson",
    { parseAs: "buffer", bodyLimit: maxBatchBytes },
    (_request, body, done) => {
      try {
        done(null, parseDelivery(Buffer.from(body)));
      } catch {
        done(badRequest("MalformedLines", "a line of the body is no JSON"));
      }
    },
  );

  app.post(
    "/v1/events",
    { onRequest: context.requireProxy, bodyLimit: maxBatchBytes, schema: { body: deliverySchema } },
    async (request, reply) => {
      const grant = grantOf(request);
      const subject = subjectOf(grant.subject);
      const batch = batchOf(request.body as EventDelivery); // as deliverySchema admits; the store checks each event's hashes
      checkOwn(batch, subject, streamsOf(subject));
      await checkHead(batch, grant.binding.jkt);
      try {
        return await events.ingest(batch, subject, signalOf(request));
      } catch (error) {
        if (!(error instanceof IngestRefused)) throw error;
        // The proxy goes on from what this says: it is no failure, and no retry would help.
        return await reply.code(409).send(error.refusal);
      }
    },
  );
}

/** A pod writes its own stream about itself, nothing else. */
export function checkOwn(
  batch: EventBatch,
  subject: EventSubject,
  streams: readonly string[],
): void {
  const isOwn = streams.some(
    (own) =>
      batch.stream === own ||
      (batch.stream.startsWith(`${own}.`) && /^\d{1,9}$/.test(batch.stream.slice(own.length + 1))),
  );
  if (!isOwn)
    throw forbidden(
      "StreamNotOwn",
      `stream ${batch.stream} does not belong to pod ${subject.namespace}/${subject.pod}`,
    );
  for (const { header, body } of batch.events) {
    if (header.stream !== batch.stream)
      throw forbidden(
        "StreamNotOwn",
        `event ${header.seq} names stream ${header.stream} inside a batch of ${batch.stream}`,
      );
    const named = body.subject;
    if (named === undefined) continue;
    if (
      named.podUid !== subject.podUid ||
      named.namespace !== subject.namespace ||
      named.serviceAccount !== subject.serviceAccount ||
      named.pod !== subject.pod
    ) {
      throw forbidden(
        "SubjectNotOwn",
        `event ${header.seq} names another subject than the pod that sends it`,
      );
    }
  }
}

/** `head` is the last event's hash, signed by the key the grant is bound to: the proxy cannot later say that it sent something else. */
export async function checkHead(batch: EventBatch, jkt: string): Promise<void> {
  const last = batch.events.at(-1);
  if (last === undefined) throw badRequest("BatchEmpty", "a batch holds at least one event");
  let payload: Uint8Array;
  try {
    const { jwk, alg } = decodeProtectedHeader(batch.head);
    const known = proofAlgorithms.find((name) => name === alg);
    if (
      jwk === undefined ||
      known === undefined ||
      (await calculateJwkThumbprint(jwk as JWK, "sha256")) !== jkt
    )
      throw new Error("another key");
    ({ payload } = await compactVerify(batch.head, await importJWK(jwk as JWK, known), {
      algorithms: [known],
    }));
  } catch {
    throw badRequest("HeadSignature", "head is not signed by the key of this proxy's grant");
  }
  if (Buffer.from(payload).toString("utf8") !== last.hash)
    throw badRequest("HeadMismatch", "head signs another hash than that of the last event");
}

const text = (maxLength: number) => ({ type: "string", maxLength });

const deliverySchema = {
  type: "object",
  required: ["stream", "records", "head"],
  properties: {
    stream: text(512),
    head: text(4_096),
    records: {
      type: "array",
      minItems: 1,
      maxItems: maxBatchEvents,
      items: {
        type: "object",
        required: ["header", "hash", "body"],
        properties: {
          hash: text(64),
          body: { type: "object" },
          header: {
            type: "object",
            required: ["stream", "seq", "time", "type", "prev", "bodyHash"],
            additionalProperties: false,
            properties: {
              stream: text(512),
              seq: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
              time: text(64),
              type: text(32),
              prev: text(64),
              bodyHash: text(64),
            },
          },
          contents: {
            type: "array",
            maxItems: maxContentsPerEvent,
            items: {
              type: "object",
              required: ["part", "sha256", "text"],
              properties: {
                part: { enum: ["request", "response", "rows", "params"] },
                sha256: text(64),
                text: { type: "string" },
              },
            },
          },
        },
      },
    },
  },
} as const;
