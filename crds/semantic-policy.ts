// What is wrong within one AccessPolicy beyond its schema: conditions, patterns, and rules that cannot do anything.
import { neverMatches, unreachableRules } from "../policy/conflicts.ts";
import { detectorNames, isDetectorName } from "../policy/mask/detectors.ts";
import { checkMaskWhen, checkPattern, checkWhen, ruleBlocks } from "../policy/when.ts";
import type { RuleBlock } from "../policy/when.ts";
import type { Problem } from "./problem.ts";
import type { AccessPolicy, PolicyRule } from "./types.gen.ts";

/** What policies of both kinds have in common. */
type PolicyParts = Pick<AccessPolicy["spec"], "rules" | "masking" | "detectors" | "limits">;

export function policyProblems(spec: PolicyParts): readonly Problem[] {
  const rules = spec.rules ?? [];
  const dead = rules.map(ruleProblems);
  const overruled = unreachableRules(rules)
    // A rule that matches nothing is overruled by anything: said once is enough.
    .filter(({ index }) => dead[index]?.length === 0)
    .map(({ index, message }) => ruleProblem(index, [], message));
  return [
    ...dead.flat(),
    ...overruled,
    ...replicationProblems(spec),
    ...detectorProblems(spec),
    ...maskConditionProblems(spec),
  ];
}

function maskConditionProblems({ masking = [] }: PolicyParts): Problem[] {
  return masking.flatMap(({ when }, entry) => {
    const message = when === undefined ? undefined : checkMaskWhen(when);
    return message === undefined ? [] : [problem(["spec", "masking", entry, "when"], message)];
  });
}

function detectorProblems({ detectors = [], masking = [], rules = [] }: PolicyParts): Problem[] {
  const own = new Set(detectors.map(({ name }) => name));
  const known = [...detectorNames, ...own].join(", ");
  const defined = detectors.flatMap(({ name, pattern }, index) => {
    const at = ["spec", "detectors", index] as const;
    const unsafe = checkPattern(pattern);
    return [
      ...(isDetectorName(name)
        ? [problem([...at, "name"], `${name} is a built-in detector: choose another name`)]
        : []),
      ...(unsafe === undefined ? [] : [problem([...at, "pattern"], unsafe)]),
    ];
  });
  const unknown = (names: readonly string[], path: readonly (string | number)[]): Problem[] =>
    names.flatMap((name, index) =>
      own.has(name) || isDetectorName(name)
        ? []
        : [
            problem(
              ["spec", ...path, index],
              `the detector ${name} is not known: known are ${known}; define others in spec.detectors`,
            ),
          ],
    );
  return [
    ...defined,
    ...rules.flatMap(({ sql, llm }, rule) => [
      ...unknown(sql?.detect ?? [], ["rules", rule, "sql", "detect"]),
      ...unknown(llm?.detect ?? [], ["rules", rule, "llm", "detect"]),
    ]),
    ...masking.flatMap(({ detect = [] }, entry) => unknown(detect, ["masking", entry, "detect"])),
  ];
}

/** A stream of changes shows every row and column, so what looks into statements and results would be void beside it. */
function replicationProblems({
  rules = [],
  masking = [],
  limits,
}: PolicyParts): readonly Problem[] {
  return rules.flatMap(({ action, sql, when }, index) => {
    if (action === "Deny" || sql?.statements?.includes("replication") !== true) return [];
    const problems: Problem[] = [];
    const add = (path: readonly string[], message: string): void => {
      problems.push(ruleProblem(index, path, message));
    };
    const statements = ["sql", "statements"];
    if (action === "RequireApproval")
      add(["action"], "replication cannot be held for a person: Allow it or leave it out");
    if (masking.length > 0)
      add(statements, "replication shows every column, so the masks of this policy would be void");
    for (const limit of ["rowsPerResult", "bytesPerResult"] as const)
      if (limits?.[limit] !== undefined)
        add(statements, `replication streams without end, so limits.${limit} would be void`);
    if (sql.detect !== undefined)
      add(["sql", "detect"], "replication has no text of SQL to look into: leave detect out");
    const unseen = when === undefined ? undefined : checkWhen(when, undefined);
    if (unseen !== undefined && checkWhen(when ?? "", "sql") === undefined)
      add(
        ["when"],
        `replication has no facts of SQL to look at, put it in a rule of its own: ${unseen}`,
      );
    return problems;
  });
}

function problem(path: readonly (string | number)[], message: string): Problem {
  return { path: [...path], message, stage: "semantic" };
}

function ruleProblems(rule: PolicyRule, index: number): readonly Problem[] {
  const problems = neverMatches(rule).map(({ path, message }) => ruleProblem(index, path, message));
  const when = rule.when === undefined ? undefined : checkWhen(rule.when, blockOf(rule));
  if (when !== undefined) problems.push(ruleProblem(index, ["when"], when));
  const patterns: [string, string, string | undefined][] = [
    ["llm", "promptMatches", rule.llm?.promptMatches],
    ...Object.entries(rule.mcp?.arguments ?? {}).map(
      ([path, pattern]): [string, string, string] => ["mcp", `arguments.${path}`, pattern],
    ),
  ];
  for (const [block, field, pattern] of patterns) {
    const unsafe = pattern === undefined ? undefined : checkPattern(pattern);
    if (unsafe !== undefined) problems.push(ruleProblem(index, [block, field], unsafe));
  }
  return problems;
}

function ruleProblem(index: number, path: readonly (string | number)[], message: string): Problem {
  return problem(["spec", "rules", index, ...path], message);
}

function blockOf(rule: PolicyRule): RuleBlock | undefined {
  return ruleBlocks.find((block) => rule[block] !== undefined);
}
