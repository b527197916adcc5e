// The one spelling in which a request target is sent: what rules are asked about is what the server reads.
import { normalisePath } from "./path.ts";
import { spellQuery } from "./query.ts";

/**
 * A path that two servers could read differently has no such spelling and stays as it came: it is refused wherever a
 * rule or an endpoint's path reads it, and nothing is decided on it elsewhere.
 *
 * @param target path and query
 */
export function spellTarget(target: string): string {
  const mark = target.indexOf("?");
  const path = normalisePath(mark < 0 ? target : target.slice(0, mark));
  const spelled = "sent" in path ? path.sent : target.slice(0, mark < 0 ? undefined : mark);
  return mark < 0 ? spelled : `${spelled}?${spellQuery(target.slice(mark + 1))}`;
}
