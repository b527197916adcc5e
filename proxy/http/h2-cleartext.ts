// What a client hears that begins HTTP/2 without TLS (RFC 9113 section 3.3): nothing here serves that, and the answer is in its own frames. Pure.
import { constants } from "node:http2";

const settingsFrame = 4;
const goawayFrame = 7;

export const cleartextReason =
  "HTTP/2 is spoken over TLS only: send HTTP/1.1 here, or use the Connection's https name";

/** The server's preface, which is a SETTINGS frame, and GOAWAY with HTTP_1_1_REQUIRED and the sentence as its debug data. */
export function cleartextRefusal(): Buffer {
  const reason = Buffer.alloc(8);
  reason.writeUInt32BE(constants.NGHTTP2_HTTP_1_1_REQUIRED, 4);
  return Buffer.concat([
    frame(settingsFrame, Buffer.alloc(0)),
    frame(goawayFrame, Buffer.concat([reason, Buffer.from(cleartextReason, "latin1")])),
  ]);
}

/** RFC 9113 section 4.1, for the connection as a whole. */
function frame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  return Buffer.concat([head, payload]);
}
