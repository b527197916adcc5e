// Remembers what the last request of an agent's connection was recognised as: a client that repeats method, target and type asks for the same
// operation, so that it is decided on, and written into its event, as one that is known.
import { overrideHeaders, recogniseHttp } from "../../policy/http/recognise.ts";
import type { HttpOperation } from "../../policy/operation.ts";
import type { RequestHead } from "./head.ts";

type Asked = Pick<RequestHead, "method" | "target" | "all">;

export class RecognisedMemory {
  #host: string | undefined;
  #asked: Asked | undefined;
  #operation: HttpOperation | undefined;

  /**
   * As `recogniseHttp`, the same object again while the same is asked for.
   *
   * @param host as the endpoint has it
   */
  of(host: string, asked: RequestHead): HttpOperation {
    const known = this.#operation;
    if (known !== undefined && host === this.#host && isSame(this.#asked, asked)) return known;
    const { method, target, all } = asked;
    const operation = recogniseHttp({ method, host, target, headers: all });
    this.#host = host;
    this.#asked = { method, target, all };
    this.#operation = operation;
    return operation;
  }
}

/** In everything that recognising looks at. */
function isSame(known: Asked | undefined, asked: Asked): boolean {
  if (known === undefined || known.method !== asked.method || known.target !== asked.target)
    return false;
  if (known.all === asked.all) return true;
  return (
    known.all["content-type"] === asked.all["content-type"] &&
    !overrides(known.all) &&
    !overrides(asked.all)
  );
}

function overrides(headers: Asked["all"]): boolean {
  for (const name of overrideHeaders) if (headers[name] !== undefined) return true;
  return false;
}
