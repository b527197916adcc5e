// Notices on their way to the client: as they are, or where masks apply only those that quote no value.
import { readFields } from "./decode.ts";
import type { Exchange } from "./exchange.ts";
import { backend, fieldsMessage } from "./messages.ts";
import { noticeMayPass, withoutValues } from "./refusal.ts";

export function passNotice(exchange: Exchange, buffer: Buffer, start: number, end: number): void {
  if (!exchange.options.masks.active) {
    exchange.client.pass(buffer, start, end);
    return;
  }
  const fields = readFields(buffer, start, end);
  if (noticeMayPass(fields))
    exchange.client.send(fieldsMessage(backend.notice, withoutValues(fields)));
}
