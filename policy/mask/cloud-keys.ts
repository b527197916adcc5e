// Keys and tokens of providers that give theirs a form of its own.
import { spansOf, type Span } from "./spans.ts";

/** As their providers document them, for secret scanners; every repetition bounded. */
const forms: readonly RegExp[] = [
  // Google API keys
  /(?<![\w-])AIza[\w-]{35}(?![\w-])/g,
  // GitHub: classic, OAuth, app, refresh; fine-grained
  /(?<!\w)gh[pousr]_[A-Za-z0-9]{36,255}(?!\w)/g,
  /(?<!\w)github_pat_\w{22,255}(?!\w)/g,
  // GitLab
  /(?<![\w-])glpat-[\w-]{20,64}(?![\w-])/g,
  // Slack
  /(?<![\w-])xox[abeprs]-[A-Za-z0-9-]{10,250}(?![\w-])/g,
  // OpenAI, Anthropic and those who copied them
  /(?<![\w-])sk-[\w-]{20,200}(?![\w-])/g,
  // Stripe: secret and restricted
  /(?<!\w)[sr]k_(?:live|test)_[A-Za-z0-9]{10,247}(?!\w)/g,
  // Azure storage: AccountKey, SharedAccessKey
  /(?<=Key=)[A-Za-z0-9+/]{40,88}={0,2}(?![A-Za-z0-9+/=])/g,
];

export function cloudKey(text: string): Span[] {
  return forms.flatMap((form) => spansOf(text, form));
}
