// How a command ends: 0 done, 1 the answer is no or the check failed, 2 wrong use.

/** The answer is no, a check failed, or something could not be done: exit code 1, one line on stderr. */
export class Failure extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "Failure";
  }
}

/** Wrong use: exit code 2, one line on stderr with what to do next. */
export class WrongUse extends Error {
  constructor(message: string) {
    super(message);
    this.name = "WrongUse";
  }
}

/** The answer was printed already and is no: exit code 1, nothing more on stderr. */
export class AnswerNo extends Error {
  constructor() {
    super("no");
    this.name = "AnswerNo";
  }
}

/** A child's own exit code, handed on by `chaperone run`. */
export class ChildExit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.name = "ChildExit";
    this.code = code;
  }
}
