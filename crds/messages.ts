// The sentences of structural problems: what a value should look like, and which field the author probably meant.
import type { ProblemPath } from "./problem.ts";

/** What the patterns of the CRDs ask for, by the name of the field that carries them. */
const forms: Readonly<Record<string, string>> = {
  relations: "schema.name, for example public.orders (* is a wildcard)",
  columns: "schema.table.column, for example public.customers.ssn (* is a wildcard)",
  functions: "schema.name or name, for example pg_catalog.lower (* is a wildcard)",
  host: "a host name in lower case or an address, for example db.data.svc.cluster.local",
  url: "http:// or https:// with host, port and path, without user and query, for example https://api.example.com/v1",
  paths: "a path that begins with a slash, for example /v1/**",
  methods: "a method in capitals, for example GET",
  contentTypes: "a media type in lower case, for example application/json",
  ttl: "a duration, for example 5m",
  hold: "a duration, for example 50s",
  validFor: "a duration, for example 10m",
  idleTimeout: "a duration, for example 15m",
  statementTimeout: "a duration, for example 30s",
  retention: "a number of days, for example 90d",
  digest: "sha256- and 43 characters of base64url",
  serviceAccounts: "a name or namespace/name in lower case (* is a wildcard)",
  pods: "a name or namespace/name in lower case (* is a wildcard)",
  connections: "a name or namespace/name in lower case (* is a wildcard)",
  connection: "a name or namespace/name in lower case",
  name: "a name in lower case letters, digits and -",
  allowedNamespaces: "a namespace name in lower case (* is a wildcard)",
  hosts: "a host name in lower case",
  chains: "letters, digits and . _ : / - (* is a wildcard)",
  key: "a key of a Secret: letters, digits and . _ -",
  usernameKey: "a key of a Secret: letters, digits and . _ -",
  passwordKey: "a key of a Secret: letters, digits and . _ -",
  value: "printable ASCII text",
  x: "43 characters of base64url",
  y: "43 characters of base64url",
};

/** A password may stand in these by mistake (`https://user:password@host`, a header with the token itself): never repeated. */
const unquotedFields: ReadonlySet<string> = new Set(["url", "value"]);

export function describeForm(path: ProblemPath, value: string, pattern: string): string {
  const field = path.findLast((part) => typeof part === "string") ?? "";
  const form = Object.hasOwn(forms, field) ? forms[field] : undefined;
  const subject = unquotedFields.has(field) ? "the value" : quote(value);
  return form === undefined
    ? `${subject} does not match ${pattern}`
    : `${subject} is not of the form ${form}`;
}

/** Lists of field names stay readable. */
const maxNamedFields = 24;

export function describeUnknownField(name: string, known: readonly string[]): string {
  const meant = known.find((field) => isNear(field, name));
  if (meant !== undefined) return `is not a field; did you mean ${meant}?`;
  if (known.length === 0) return "is not a field: nothing can be set here";
  return `is not a field; the fields here are ${known.slice(0, maxNamedFields).join(", ")}`;
}

/** One edit away, or different in case, hyphens and a plural s only. */
function isNear(field: string, name: string): boolean {
  if (plain(field) === plain(name)) return true;
  if (Math.abs(field.length - name.length) > 1) return false;
  let start = 0;
  while (start < field.length && field[start] === name[start]) start += 1;
  const [a, b] = [field.slice(start), name.slice(start)];
  const swapped = a.length > 1 && a[0] === b[1] && a[1] === b[0] && a.slice(2) === b.slice(2);
  return swapped || a.slice(1) === b.slice(1) || a === b.slice(1) || a.slice(1) === b;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, "").replace(/s$/, "");
}

export function nameType(value: unknown): string {
  if (value === null || value === undefined) return "empty (null)";
  if (Array.isArray(value)) return "a list";
  switch (typeof value) {
    case "object":
      return "an object";
    case "string":
      return "text";
    case "number":
      return Number.isSafeInteger(value) ? "a number" : "this number";
    case "boolean":
      return "true or false";
    default:
      return `a ${typeof value}`;
  }
}

/** Long enough to recognise a value, short enough for one line. */
const maxQuotedLength = 80;

export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= maxQuotedLength ? text : `${text.slice(0, maxQuotedLength)}…`;
}
