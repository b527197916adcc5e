// What is wrong within one AccessPolicy beyond its schema: conditions, patterns, and rules that cannot do anything.
import { neverMatches, unreachableRules } from "../policy/conflicts.ts";
import { detectorNames, isDetectorName } from "../policy/mask/detectors.ts";
import { checkPattern, checkWhen } from "../policy/when.ts";
import type { RuleBlock } from "../policy/when.ts";
import type { Problem } from "./problem.ts";
import type { AccessPolicy, PolicyRule } from "./types.gen.ts";

export function policyProblems(spec: AccessPolicy["spec"]): readonly Problem[] {
  const rules = spec.rules ?? [];
  const dead = rules.map(ruleProblems);
  const overruled = unreachableRules(rules)
    // A rule that matches nothing is overruled by anything: said once is enough.
    .filter(({ index }) => dead[index]?.length === 0)
    .map(({ index, message }) => ruleProblem(index, [], message));
  return [...dead.flat(), ...overruled, ...detectorProblems(spec)];
}

function detectorProblems({ detectors = [], masking = [] }: AccessPolicy["spec"]): Problem[] {
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
  const used = masking.flatMap(({ detect = [] }, entry) =>
    detect.flatMap((name, index) =>
      own.has(name) || isDetectorName(name)
        ? []
        : [
            problem(
              ["spec", "masking", entry, "detect", index],
              `the detector ${name} is not known: known are ${known}; define others in spec.detectors`,
            ),
          ],
    ),
  );
  return [...defined, ...used];
}

function problem(path: readonly (string | number)[], message: string): Problem {
  return { path: [...path], message, stage: "semantic" };
}

function ruleProblems(rule: PolicyRule, index: number): readonly Problem[] {
  const problems = neverMatches(rule).map(({ path, message }) => ruleProblem(index, path, message));
  const when = rule.when === undefined ? undefined : checkWhen(rule.when, blockOf(rule));
  if (when !== undefined) problems.push(ruleProblem(index, ["when"], when));
  const pattern = rule.llm?.promptMatches;
  const unsafe = pattern === undefined ? undefined : checkPattern(pattern);
  if (unsafe !== undefined) problems.push(ruleProblem(index, ["llm", "promptMatches"], unsafe));
  return problems;
}

function ruleProblem(index: number, path: readonly (string | number)[], message: string): Problem {
  return problem(["spec", "rules", index, ...path], message);
}

function blockOf(rule: PolicyRule): RuleBlock | undefined {
  if (rule.sql !== undefined) return "sql";
  if (rule.http !== undefined) return "http";
  if (rule.llm !== undefined) return "llm";
  return rule.passthrough === undefined ? undefined : "passthrough";
}
