// The words for why a rule does not speak about an access: the first field that did not match. `decide` only asks whether there is one, `explain` prints it.

export type MatchField =
  | "block"
  | "chains"
  | "statements"
  | "relations"
  | "columns"
  | "functions"
  | "hasWhere"
  | "methods"
  | "hosts"
  | "paths"
  | "query"
  | "contentTypes"
  | "upgrades"
  | "operations"
  | "models"
  | "tools"
  | "maxOutputTokens"
  | "promptMatches"
  | "arguments"
  | "resources"
  | "prompts"
  | "detect"
  | "when";

/**
 * How a rule is held against an access. What cannot be told is read against the agent each time.
 *
 * | reading | of         | question                                                      |
 * | covers  | Allow, RequireApproval | does the rule account for all of the access?      |
 * | holds   | RequireApproval | does it speak about any part of it, so that a person is asked even where an Allow covers it? |
 * | denies  | Deny       | does it speak about any part of it?                           |
 */
export type Reading = "covers" | "holds" | "denies";
