// Masks a request to a language model or an MCP server before it is decided on: what is decided, recorded and sent is the masked form.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { maskJson, NotMaskable } from "../../policy/mask/stream-json.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import type { TokenVault } from "../../policy/mask/token-vault.ts";
import { ProxyError } from "../errors.ts";
import { sentMaskerOf } from "./mask-answer.ts";

/** The body as it may leave. Throws ProxyError for one that is no JSON. */
export function maskRequest(
  body: Buffer,
  { shape }: Pick<LlmProvider, "shape">,
  masks: readonly DetectMask[],
  bundle: Bundle,
  vault: TokenVault,
  counts: Counts,
): Buffer {
  if (masks.length === 0 || body.length === 0) return body;
  const masker = sentMaskerOf(masks, bundle, vault);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    const masked = maskJson({ masker, counts, shape, otherwise: "refuse" }, text);
    return masked === text ? body : Buffer.from(masked);
  } catch (error) {
    if (error instanceof NotMaskable || error instanceof TypeError)
      throw new ProxyError(
        "MaskNotProvable",
        "the request cannot be masked, because its body is no JSON in UTF-8; masks apply to every request of this connection",
        { cause: error },
      );
    throw error;
  }
}
