// One finding about one object: where, what is wrong and what to do next.

export type ProblemStage = "structural" | "cel" | "semantic";

export type ProblemPath = readonly (string | number)[];

export interface Problem {
  readonly path: ProblemPath;
  /** A sentence that follows the path: `is required`, `must be a string, not a list`. */
  readonly message: string;
  readonly stage: ProblemStage;
}

/** An object can be wrong in thousands of places; people read the first ones. */
export const maxProblemsPerObject = 100;

/** `spec.rules[2].sql.relations[0]`; names that are no plain words are quoted. */
export function formatPath(path: ProblemPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][-A-Za-z0-9_]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

export function formatProblem(problem: Problem): string {
  return problem.path.length === 0
    ? problem.message
    : `${formatPath(problem.path)}: ${problem.message}`;
}

export function capProblems(problems: readonly Problem[]): readonly Problem[] {
  if (problems.length <= maxProblemsPerObject) return problems;
  const hidden = problems.length - maxProblemsPerObject;
  return [
    ...problems.slice(0, maxProblemsPerObject),
    {
      path: [],
      message: `and ${hidden} more problems; mend these first`,
      stage: problems.at(-1)?.stage ?? "structural",
    },
  ];
}
