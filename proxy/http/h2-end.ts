// Tells a message that ended from one that broke off: Node ends a stream's readable side for both when the peer's RST_STREAM says NO_ERROR.
import { constants } from "node:http2";
import type { Http2Stream } from "node:http2";

/**
 * Watches for END_STREAM. Node pushes the end of the readable side before it marks the stream as closed when the peer ended its
 * message, and after it when the stream was reset; a truncated message must never look like a whole one (RFC 9113 section 8.1).
 *
 * To be called within the event that tells of the stream: Node does so a turn late, when all of its message may have come already.
 */
export function watchEnd(stream: Http2Stream): () => boolean {
  let isWhole = stream.endAfterHeaders || hasEnded(stream);
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed && !stream.destroyed) isWhole = true;
    return push(chunk, encoding);
  };
  return () => isWhole || stream.endAfterHeaders;
}

/** The peer said END_STREAM (RFC 9113 section 5.1). */
function hasEnded({ state }: Http2Stream): boolean {
  return state.state === constants.NGHTTP2_STREAM_STATE_HALF_CLOSED_REMOTE;
}
