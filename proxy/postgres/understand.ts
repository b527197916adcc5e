// Joins this room to the policy core: the SQL recogniser and the mask engine of one process, over one grammar.
import { createCatalogNames } from "../../policy/sql/catalog-names.ts";
import type { SqlGrammar } from "../../policy/sql/grammar.ts";
import { createLiterals, type LiteralsOf } from "../../policy/sql/literals.ts";
import { createSqlRecogniser } from "../../policy/sql/recognise.ts";
import { createMaskEngine } from "./mask-engine.ts";
import type { MaskEngine } from "./mask-source.ts";
import { createCallsOf, type CallsOf } from "./overloads.ts";
import type { Recognise } from "./understanding.ts";

export interface Understanding {
  readonly recognise: Recognise;
  readonly masks: MaskEngine;
  readonly callsOf: CallsOf;
  readonly literalsOf: LiteralsOf;
}

export function createUnderstanding(grammar: SqlGrammar): Understanding {
  const names = createCatalogNames();
  const recogniser = createSqlRecogniser({ grammar, names });
  return {
    recognise: (text) => recogniser.recognise(text),
    masks: createMaskEngine(grammar, names),
    callsOf: createCallsOf(grammar, names),
    literalsOf: createLiterals(grammar),
  };
}
