// What is wrong within one Connection beyond its schema: the url as a URL, templates, names of environment variables.
import { endpointAddress } from "./endpoint.ts";
import type { Problem, ProblemPath } from "./problem.ts";
import type { Connection } from "./types.gen.ts";

const maxPort = 65535;

export function connectionProblems(spec: Connection["spec"]): readonly Problem[] {
  return [
    ...urlProblems(spec),
    ...templateProblems(spec),
    ...tokenUrlProblems(spec),
    ...fixedHeaderProblems(spec),
    ...environmentProblems(spec.inject?.env ?? {}),
  ];
}

function semantic(path: ProblemPath, message: string): Problem {
  return { path: ["spec", ...path], message, stage: "semantic" };
}

function urlProblems(spec: Connection["spec"]): readonly Problem[] {
  const { url } = spec.endpoint;
  if (url === undefined) return [];
  const at = ["endpoint", "url"];
  const address = endpointAddress(spec);
  if (address === undefined || address.port < 1 || address.port > maxPort)
    return [semantic(at, "is no URL that can be dialled: check host and port")];
  if (
    /\/\/|%(2f|5c|2e|00|25)/i.test(url.replace(/^https?:\/\//, "")) ||
    /\/\.{1,2}(\/|$)/.test(url)
  ) {
    return [
      semantic(
        at,
        "has a path that can be read in two ways: no empty segments, no . or .. and no encoded / \\ . or %",
      ),
    ];
  }
  return [];
}

function templateProblems(spec: Connection["spec"]): readonly Problem[] {
  return (["header", "query"] as const).flatMap((form) => {
    const value = spec.credential?.static?.[form]?.value;
    if (value === undefined || !hasBrokenTemplate(value)) return [];
    return [
      semantic(
        ["credential", "static", form, "value"],
        "has a ${ without its }, or a name that is no key of a Secret",
      ),
    ];
  });
}

function tokenUrlProblems(spec: Connection["spec"]): readonly Problem[] {
  const url = spec.credential?.oauth2?.tokenUrl;
  const port = url === undefined ? "443" : URL.parse(url)?.port;
  if (port !== undefined && Number(port) <= maxPort) return [];
  return [
    semantic(
      ["credential", "oauth2", "tokenUrl"],
      "is no URL that can be dialled: check host and port",
    ),
  ];
}

/** Two sources for one header: which of them counts would be a guess. */
function fixedHeaderProblems(spec: Connection["spec"]): readonly Problem[] {
  const taken = credentialHeader(spec)?.toLowerCase();
  const names = (spec.http?.headers ?? []).map(({ name }) => name.toLowerCase());
  return names.flatMap((name, index) => {
    const message =
      name === taken
        ? "is the header of the credential, which sets it"
        : names.indexOf(name) < index
          ? "is set twice: names of headers do not differ by case"
          : undefined;
    return message === undefined ? [] : [semantic(["http", "headers", index, "name"], message)];
  });
}

function credentialHeader({ credential }: Connection["spec"]): string | undefined {
  if (credential?.static?.header !== undefined) return credential.static.header.name;
  const isBearer = credential?.static?.basic ?? credential?.oauth2 ?? credential?.awsSigV4;
  return isBearer === undefined ? undefined : "authorization";
}

/** `${` must open a complete reference; a lone `$` is text. */
function hasBrokenTemplate(text: string): boolean {
  return text.replaceAll(/\$\{[-._a-zA-Z0-9]+\}/g, "").includes("${");
}

const environmentReferences: ReadonlySet<string> = new Set(["address", "host", "port", "url"]);

/** Variables that decide what code a process runs, whom it trusts or through whom it dials: not for the author of a Connection to set in other people's pods. */
const reservedVariables: ReadonlySet<string> = new Set([
  "PATH",
  "HOME",
  "IFS",
  "ENV",
  "BASH_ENV",
  "SHELLOPTS",
  "NODE_OPTIONS",
  "NODE_PATH",
  "NODE_EXTRA_CA_CERTS",
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "PYTHONPATH",
  "PYTHONHOME",
  "PYTHONSTARTUP",
  "PERL5LIB",
  "PERL5OPT",
  "RUBYLIB",
  "RUBYOPT",
  "JAVA_TOOL_OPTIONS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "PGSSLROOTCERT",
  "GIT_SSL_CAINFO",
  "AWS_CA_BUNDLE",
  ...["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [
    name,
    name.toLowerCase(),
  ]),
  "NODE_USE_ENV_PROXY",
]);

const reservedPrefixes = ["LD_", "DYLD_", "CHAPERONE_", "KUBERNETES_"];

function environmentProblems(env: Readonly<Record<string, string>>): readonly Problem[] {
  return Object.entries(env).flatMap(([name, value]) => {
    const message = nameProblem(name) ?? valueProblem(value);
    return message === undefined ? [] : [semantic(["inject", "env", name], message)];
  });
}

function nameProblem(name: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
    return "is no name of an environment variable: letters, digits and _, not beginning with a digit";
  if (!reservedVariables.has(name) && !reservedPrefixes.some((prefix) => name.startsWith(prefix)))
    return undefined;
  return "decides what a container runs, trusts or dials through and cannot be set by a Connection";
}

function valueProblem(value: string): string | undefined {
  if (["\0", "\n", "\r"].some((control) => value.includes(control))) return "must be one line";
  if (hasBrokenTemplate(value))
    return "has a ${ that is no reference: use ${address}, ${host}, ${port} or ${url}";
  const unknown = [...value.matchAll(/\$\{([-._a-zA-Z0-9]+)\}/g)].find(
    ([, name]) => !environmentReferences.has(name ?? ""),
  );
  return unknown === undefined
    ? undefined
    : `uses ${unknown[0]}; what it can use is \${address}, \${host}, \${port} and \${url}`;
}
