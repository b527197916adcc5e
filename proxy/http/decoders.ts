// What takes a content coding off, piece by piece (RFC 9110 section 8.4.1; RFC 7932 for br, RFC 8878 for zstd). Only one at a time is read: nobody sends two.
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from "node:zlib";
import type { Transform } from "node:stream";

/**
 * `bytesWritten`: of what it was given, as much as it took. Node stops without a word where the first of several encoded texts ends (gzip
 * alone goes on), so that less means that something follows which another reader would see.
 */
export type Decoder = Transform & { readonly bytesWritten: number };

/** Pieces of what comes out; what waits of it is no more than one of them and what one read brought in. */
const options = { chunkSize: 16 * 1024, highWaterMark: 16 * 1024 };

export const decoders: ReadonlyMap<string, () => Decoder> = new Map<string, () => Decoder>([
  ["gzip", () => createGunzip(options)],
  ["x-gzip", () => createGunzip(options)],
  ["deflate", () => createInflate(options)],
  ["br", () => createBrotliDecompress(options)],
  ["zstd", () => createZstdDecompress(options)],
]);
