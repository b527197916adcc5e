// How servers read a JSON body: what differs between parsers that real providers and gateways are built on. They are judges: none may find
// another model in what was let through than was decided on.

/** What a server takes a body to say: `undefined` where it would refuse it. */
export type BodyReader = (body: Buffer) => unknown;

interface Dialect {
  /** Of equal names. */
  readonly keeps: "first" | "last";
  /** `Model` is `model` (Go's encoding/json, cJSON, .NET with its web defaults). */
  readonly foldsCase?: true;
  /** A name ends at a NUL (C strings). */
  readonly endsAtNul?: true;
  /** Comments, trailing commas, NaN, single quotes (JSON5, Python's NaN). */
  readonly isLoose?: true;
  /** Stops at the end of the first value. */
  readonly ignoresRest?: true;
}

export const readers: Readonly<Record<string, BodyReader>> = {
  "the last of equal names (JavaScript, Python)": (body) => read(text(body), { keeps: "last" }),
  "the first of equal names": (body) => read(text(body), { keeps: "first" }),
  "any case (Go)": (body) => read(text(body), { keeps: "last", foldsCase: true }),
  "any case, the first, C strings (cJSON)": (body) =>
    read(text(body), { keeps: "first", foldsCase: true, endsAtNul: true, ignoresRest: true }),
  "JSON5, and nothing behind the first value": (body) =>
    read(text(body), { keeps: "last", isLoose: true, ignoresRest: true }),
  "any encoding that its first bytes show (Python's json.loads of bytes)": (body) =>
    read(sniffed(body), { keeps: "last", isLoose: true }),
  "Latin-1": (body) => read(body.toString("latin1"), { keeps: "last" }),
};

/** Of the fields that matter. */
export function modelOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "model" in value ? value.model : undefined;
}

/** As lenient readers do: a mark is left out, what is no UTF-8 becomes U+FFFD. */
function text(body: Buffer): string {
  return new TextDecoder("utf-8").decode(body);
}

function sniffed(body: Buffer): string {
  const [a, b] = body;
  if ((a === 0xff && b === 0xfe) || (a !== 0 && b === 0))
    return new TextDecoder("utf-16le").decode(body);
  if ((a === 0xfe && b === 0xff) || (a === 0 && b !== 0))
    return new TextDecoder("utf-16be").decode(body);
  return text(body);
}

function read(source: string, dialect: Dialect): unknown {
  try {
    const reader = new Reader(source, dialect);
    const value = reader.value();
    reader.blank();
    return dialect.ignoresRest === true || reader.isAtEnd ? value : undefined;
  } catch {
    return undefined;
  }
}

class Reader {
  readonly #source: string;
  readonly #dialect: Dialect;
  #at = 0;

  constructor(source: string, dialect: Dialect) {
    this.#source = source;
    this.#dialect = dialect;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#source.length;
  }

  blank(): void {
    const blanks =
      this.#dialect.isLoose === true ? /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)*/y : /[ \t\r\n]*/y;
    blanks.lastIndex = this.#at;
    blanks.exec(this.#source);
    this.#at = Math.max(this.#at, blanks.lastIndex);
  }

  value(): unknown {
    this.blank();
    const first = this.#source[this.#at];
    if (first === "{") return this.#object();
    if (first === "[") return this.#list();
    if (first === '"' || (first === "'" && this.#dialect.isLoose === true)) return this.#string();
    const word = /[-+.\w]+/y;
    word.lastIndex = this.#at;
    const [token = ""] = word.exec(this.#source) ?? [];
    this.#at += token.length;
    if (this.#dialect.isLoose === true && /^[-+]?(?:NaN|Infinity)$/.test(token))
      return Number(token);
    return JSON.parse(token);
  }

  #object(): unknown {
    const { keeps, foldsCase, endsAtNul } = this.#dialect;
    const members = new Map<string, unknown>();
    this.#each("}", () => {
      let name = this.#name();
      if (endsAtNul === true) name = name.split("\0", 1)[0] ?? "";
      if (foldsCase === true) name = name.toUpperCase().toLowerCase();
      this.#take(":");
      const value = this.value();
      if (keeps === "last" || !members.has(name)) members.set(name, value);
    });
    return Object.fromEntries(members);
  }

  #list(): unknown[] {
    const items: unknown[] = [];
    this.#each("]", () => items.push(this.value()));
    return items;
  }

  #each(end: string, item: () => void): void {
    this.#at += 1;
    this.blank();
    while (this.#source[this.#at] !== end) {
      item();
      this.blank();
      if (this.#source[this.#at] === end) break;
      this.#take(",");
      if (this.#source[this.#at] === end && this.#dialect.isLoose !== true) throw new SyntaxError();
    }
    this.#at += 1;
  }

  #take(mark: string): void {
    this.blank();
    if (this.#source[this.#at] !== mark) throw new SyntaxError();
    this.#at += 1;
    this.blank();
  }

  #name(): string {
    this.blank();
    const bare = /[A-Za-z_$][\w$]*/y;
    bare.lastIndex = this.#at;
    const [name] = bare.exec(this.#source) ?? [];
    if (name === undefined || this.#dialect.isLoose !== true) return String(this.#string());
    this.#at += name.length;
    return name;
  }

  #string(): unknown {
    const quote = this.#source[this.#at];
    let end = this.#at + 1;
    while (end < this.#source.length && this.#source[end] !== quote)
      end += this.#source[end] === "\\" ? 2 : 1;
    const inner = this.#source.slice(this.#at + 1, end);
    this.#at = end + 1;
    return JSON.parse(quote === '"' ? `"${inner}"` : JSON.stringify(inner));
  }
}
