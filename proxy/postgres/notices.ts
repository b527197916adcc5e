// Notices and settings on their way to the client: as they are, or where masks apply only those that quote no value.
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

/** Reported settings that hold any text (a zone may be called `<anything>3`). */
const freeTexts: ReadonlySet<string> = new Set(["application_name", "TimeZone"]);

/** What code that nobody here has read sets may be a value it read; what the client sets itself it knows. */
export function settingMayPass({ options, registry }: Exchange, name: string): boolean {
  return !(options.masks.active && registry.ranCode && freeTexts.has(name));
}
