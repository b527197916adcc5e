// YAML text to objects that know their lines. Reads what kubectl reads (several documents, Lists, merge keys, YAML 1.1 truth
// words) and bounds what an author may make the reader do.
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseAllDocuments, visit } from "yaml";
import type { Document, Node, ScalarTag } from "yaml";
import { isRecord } from "./defaults.ts";
import type { ProblemPath } from "./problem.ts";

/** One object is at most 1.5 MB in etcd; a file may hold many, but reading it should stay a matter of a second. */
export const maxFileCharacters = 4 * 1024 * 1024;

/** `*a` that expand `*b` that expand `*c` …: the reader refuses to unfold more than this. */
const maxAliasCount = 64;

export interface Manifest {
  readonly file: string;
  readonly object: Readonly<Record<string, unknown>>;
  /** Line of the value at this path of the object, or of the nearest part of it that is there. */
  readonly lineOf: (path: ProblemPath) => number;
}

export interface SyntaxProblem {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export interface ManifestFile {
  readonly manifests: readonly Manifest[];
  readonly problems: readonly SyntaxProblem[];
}

export function readManifestFile(file: string, text: string): ManifestFile {
  if (text.length > maxFileCharacters)
    return broken(file, 1, `the file has more than ${maxFileCharacters} characters: split it`);
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      merge: true,
      // Its own check compares each key with each other: 100,000 keys took minutes. `repeatedKeys` reads them once.
      uniqueKeys: false,
      customTags: (tags) => [...tags, ...truthWords],
    });
    const read = (Array.isArray(documents) ? documents : []).map((document: Document) =>
      readDocument(file, document, lines),
    );
    return {
      manifests: read.flatMap(({ manifests }) => manifests),
      problems: read.flatMap(({ problems }) => problems),
    };
  } catch (error) {
    return broken(file, 1, `cannot be read as YAML: ${messageOf(error)}`);
  }
}

function broken(file: string, line: number, message: string): ManifestFile {
  return { manifests: [], problems: [{ file, line, message }] };
}

/** kubectl and the API server read these as booleans (YAML 1.1), so a text field that holds one must be quoted. */
const truthWords: readonly ScalarTag[] = [
  {
    tag: "tag:yaml.org,2002:bool",
    default: true,
    test: /^(?:y|Y|yes|Yes|YES|on|On|ON)$/,
    resolve: () => true,
  },
  {
    tag: "tag:yaml.org,2002:bool",
    default: true,
    test: /^(?:n|N|no|No|NO|off|Off|OFF)$/,
    resolve: () => false,
  },
];

function readDocument(file: string, document: Document, lines: LineCounter): ManifestFile {
  const line = (offset: number): number => lines.linePos(offset).line;
  const problems = [
    ...[...document.errors, ...document.warnings].map(({ message, pos }) => ({
      file,
      line: line(pos[0]),
      message: firstLine(message),
    })),
    ...repeatedKeys(document).map(({ key, offset }) => ({
      file,
      line: line(offset),
      message: `the key ${key} is given twice`,
    })),
  ];
  if (problems.length > 0) return { manifests: [], problems: mostTelling(problems) };
  const start = line(document.contents?.range?.[0] ?? document.range?.[0] ?? 0);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount });
  } catch (error) {
    return broken(file, start, `cannot be read as YAML: ${messageOf(error)}`);
  }
  if (value === null || value === undefined) return { manifests: [], problems: [] };
  if (!isRecord(value))
    return broken(
      file,
      start,
      "is no manifest: an object with apiVersion, kind and metadata is expected",
    );
  const manifest: Manifest = {
    file,
    object: value,
    lineOf: (path) => line(offsetOf(document, path) ?? 0),
  };
  return { manifests: unfoldList(manifest), problems: [] };
}

/** After the first few, errors are echoes; where the parser ran out of stack, all others are. */
const maxSyntaxProblems = 10;

function mostTelling(problems: readonly SyntaxProblem[]): readonly SyntaxProblem[] {
  const deep = problems.find(({ message }) => message === tooDeep);
  return deep === undefined ? problems.slice(0, maxSyntaxProblems) : [deep];
}

function repeatedKeys(
  document: Document,
): readonly { readonly key: string; readonly offset: number }[] {
  const repeated: { key: string; offset: number }[] = [];
  visit(document, {
    Map(_, map) {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        if (!isScalar(key) || key.value === "<<") continue;
        const name = String(key.value);
        if (seen.has(name)) repeated.push({ key: name, offset: key.range?.[0] ?? 0 });
        seen.add(name);
      }
    },
  });
  return repeated;
}

/** `kubectl get -o yaml` writes a List. */
function unfoldList(manifest: Manifest): readonly Manifest[] {
  const { file, object, lineOf } = manifest;
  const { kind, items } = object;
  if (typeof kind !== "string" || !kind.endsWith("List") || !Array.isArray(items))
    return [manifest];
  return items.flatMap((item: unknown, index) =>
    isRecord(item)
      ? [{ file, object: item, lineOf: (path: ProblemPath) => lineOf(["items", index, ...path]) }]
      : [],
  );
}

function offsetOf(document: Document, path: ProblemPath): number | undefined {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0];
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document);
    const step = childOf(node, part);
    if (step === undefined) break;
    offset = step.offset ?? offset;
    node = step.node;
  }
  return offset;
}

function childOf(
  node: unknown,
  part: string | number,
): { readonly node: unknown; readonly offset: number | undefined } | undefined {
  if (isSeq(node)) {
    const item: unknown = node.items[Number(part)];
    return item === undefined ? undefined : { node: item, offset: rangeStart(item) };
  }
  if (!isMap(node)) return undefined;
  const pair = node.items.find(
    ({ key }) => (isScalar(key) ? String(key.value) : String(key)) === String(part),
  );
  return pair === undefined ? undefined : { node: pair.value, offset: rangeStart(pair.key) };
}

function rangeStart(node: unknown): number | undefined {
  return (node as Partial<Node> | null)?.range?.[0];
}

const tooDeep = "nested too deeply";

function messageOf(error: unknown): string {
  return error instanceof Error ? firstLine(error.message) : String(error);
}

function firstLine(text: string): string {
  return /call stack/i.test(text) ? tooDeep : (text.split("\n")[0] ?? text);
}
