// The frames of an AWS event stream one by one. One whose checksum is wrong could say anything, so the stream ends there.
import {
  BadFrame,
  concatenated,
  eventFrame,
  frameName,
  FrameSplitter,
} from "../llm/framing/aws-frames.ts";
import { UnreadableStream } from "./stream-blocks.ts";
import type { LastEvent, StreamBlock, StreamBlocks } from "./stream-blocks.ts";

export class FrameBlocks implements StreamBlocks {
  readonly #splitter = new FrameSplitter();
  readonly #decoder = new TextDecoder("utf-8");

  push(chunk: Uint8Array): readonly StreamBlock[] {
    try {
      return this.#splitter.push(chunk).map((frame) => {
        const name = frameName(frame);
        return {
          raw: frame.raw,
          data: this.#decoder.decode(frame.payload),
          ...(name !== undefined && { name }),
        };
      });
    } catch (error) {
      if (error instanceof BadFrame) throw new UnreadableStream(error.message, error);
      throw error;
    }
  }

  end(): Uint8Array {
    return this.#splitter.rest();
  }

  written(events: readonly LastEvent[]): Uint8Array {
    return concatenated(
      events.flatMap(({ name, data }) =>
        data === "[DONE]" ? [] : [eventFrame({ ...(name !== undefined && { name }), data })],
      ),
    );
  }
}
