import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkFiles, checkSources, formatLocated } from "./check.ts";
import type { CheckOptions } from "./check.ts";
import { readManifestFiles } from "./manifest-files.ts";

const secret = `apiVersion: v1
kind: Secret
metadata: {name: orders-db, namespace: agents}
stringData: {username: app, password: s3cret}
`;

const connection = `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: orders-db, namespace: agents}
spec:
  protocol: postgres
  endpoint:
    host: postgres.data.svc.cluster.local
    port: 5432
    tls: {mode: VerifyFull, caSecretRef: {name: pg-ca, key: ca.crt}}
  hosts: [orders-db, postgres.data.svc.cluster.local]
  postgres: {database: orders}
  credential:
    static: {secretRef: {name: orders-db}, usernameKey: username, passwordKey: password}
  inject:
    env: {DATABASE_URL: "postgresql://agent@\${address}/orders"}
`;

const openai = `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: openai, namespace: agents}
spec:
  protocol: openai
  endpoint: {url: "https://api.openai.com/v1"}
  credential:
    static: {secretRef: {name: openai}, header: {name: Authorization, value: "Bearer \${apiKey}"}}
  inject:
    env: {OPENAI_BASE_URL: "\${url}", OPENAI_API_KEY: "held-by-chaperone"}
`;

const policy = `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: invoice-agent, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: orders-db}]
  subjects:
    - serviceAccounts: [invoice-agent]
      chains: ["summarise-*"]
  grant: {ttl: 5m}
  mode: Enforce
  rules:
    - name: read-orders
      action: Allow
      sql: {statements: [select], relations: [public.orders, public.customers]}
    - name: refunds-need-a-person
      action: RequireApproval
      sql: {statements: [update], relations: [public.orders]}
      when: sql.hasWhere
      approval: {approvers: [{group: finance-leads}], count: 1, hold: 50s, validFor: 10m}
    - name: never-destroy
      action: Deny
      sql: {statements: [drop, truncate, delete]}
      message: Deletions go through the data team's ticket queue.
  masking:
    - columns: [public.customers.ssn, public.customers.card_number]
      transform: {partial: {keepLast: 4}}
    - detect: [email, credit-card]
      transform: {redact: {}}
  limits: {requestsPerMinute: 60, rowsPerResult: 5000}
  recording: {detail: Full, strict: true}
`;

function said(text: string, options?: CheckOptions): readonly string[] {
  return checkSources([{ path: "all.yaml", text }], options).problems.map(formatLocated);
}

function documents(...texts: readonly string[]): string {
  return texts.join("---\n");
}

const pgCa =
  "apiVersion: v1\nkind: Secret\nmetadata: {name: pg-ca, namespace: agents}\nstringData: {ca.crt: pem}\n";
const openaiSecret =
  "apiVersion: v1\nkind: Secret\nmetadata: {name: openai, namespace: agents}\ndata: {apiKey: c2stMQ==}\n";

test("the examples of providers are good", async () => {
  const { problems } = checkSources(await readManifestFiles("examples/models"));
  assert.deepEqual(problems.map(formatLocated), []);
});

test("the documented manifests are good, and come back with their defaults and decoded Secrets", () => {
  const text = documents(secret, pgCa, openaiSecret, connection, openai, policy);
  const result = checkSources([{ path: "all.yaml", text }], { secrets: "all" });
  assert.deepEqual(result.problems, []);
  assert.deepEqual(
    result.connections.map(({ metadata }) => metadata.name),
    ["orders-db", "openai"],
  );
  assert.equal(result.connections[0]?.spec.onFailure, "closed");
  assert.equal(result.policies[0]?.spec.masking?.[0]?.direction, "response");
  assert.deepEqual(
    result.secrets.map(({ name, values }) => [name, values]),
    [
      ["orders-db", { username: "app", password: "s3cret" }],
      ["pg-ca", { "ca.crt": "pem" }],
      ["openai", { apiKey: "sk-1" }],
    ],
  );
});

test("every problem is reported at once with file, line and path, in order", () => {
  const text = connection
    .replace("  protocol: postgres", "  protocol: mysql")
    .replace("port: 5432", "port: 99999")
    .replace("  postgres:", "  postgress:");
  assert.deepEqual(said(text), [
    "all.yaml:5: spec.protocol: protocol 'mysql' is not available in this version: use postgres, http, openai, anthropic, gemini, bedrock, mcp or passthrough",
    "all.yaml:8: spec.endpoint.port: is 99999; the largest value is 65535",
    "all.yaml:11: spec.postgress: is not a field; did you mean postgres?",
  ]);
});

test("a missing field is reported at the line of the nearest part that is there", () => {
  assert.deepEqual(
    said(
      "apiVersion: chaperone.dev/v1alpha1\nkind: Quarantine\nmetadata: {name: q}\nspec:\n  all: true\n",
    ),
    ["all.yaml:4: spec.reason: is required"],
  );
});

const api = (credential: string): string => `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: api, namespace: agents}
spec:
  protocol: http
  endpoint: {url: "https://api.example"}
  hosts: [api.example]
  credential: {${credential}}
`;

const between: readonly [string, string, readonly string[], CheckOptions?][] = [
  [
    "a policy whose target is nowhere",
    policy,
    ["all.yaml:5: spec.targetRefs[0].name: no Connection orders-db in namespace agents"],
  ],
  [
    "a policy whose target is only broken says nothing of its own",
    documents(policy, connection.replace("VerifyFull", "require")),
    ['all.yaml:40: spec.endpoint.tls.mode: is "require"; it must be one of Disable, VerifyFull'],
  ],
  [
    "a Secret that local mode needs",
    documents(connection, secret),
    [
      "all.yaml:9: spec.endpoint.tls.caSecretRef.name: no Secret pg-ca in namespace agents among the files",
    ],
    { secrets: "all" },
  ],
  ["Secrets that come from elsewhere are no problem", documents(connection, openai), []],
  [
    "a key that the Secret lacks",
    documents(connection, secret.replace("password:", "pass:"), pgCa),
    [
      "all.yaml:13: spec.credential.static.passwordKey: Secret orders-db has no key password; it has username, pass",
    ],
  ],
  [
    "keys that the Secret of an authorization server's client lacks, each where it is named",
    documents(
      api(
        "oauth2: {tokenUrl: 'https://login.example/token', caSecretRef: {name: login-ca}, secretRef: {name: client}, clientIdKey: id, clientSecretKey: secret, tokenExchange: {subjectTokenKey: subject}}",
      ),
      "apiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: agents}\nstringData: {id: a}\n",
    ),
    [
      "all.yaml:8: spec.credential.oauth2.caSecretRef.name: no Secret login-ca in namespace agents among the files",
      "all.yaml:8: spec.credential.oauth2.clientSecretKey: Secret client has no key secret; it has id",
      "all.yaml:8: spec.credential.oauth2.tokenExchange.subjectTokenKey: Secret client has no key subject; it has id",
    ],
    { secrets: "all" },
  ],
  [
    "keys that an AWS or a Basic credential lacks",
    documents(
      api(
        "awsSigV4: {service: s3, region: eu-central-1, secretRef: {name: keys}, accessKeyIdKey: id, secretAccessKeyKey: secret, sessionTokenKey: token}",
      ),
      api(
        "static: {secretRef: {name: keys}, basic: {usernameKey: user, passwordKey: id}}",
      ).replaceAll(/api(?=,|\.example)/g, "other"),
      "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: agents}\nstringData: {id: a, secret: b}\n",
    ),
    [
      "all.yaml:8: spec.credential.awsSigV4.sessionTokenKey: Secret keys has no key token; it has id, secret",
      "all.yaml:17: spec.credential.static.basic.usernameKey: Secret keys has no key user; it has id, secret",
    ],
    { secrets: "all" },
  ],
  [
    "a key that the Secret of an administrator lacks",
    documents(
      connection
        .replace("static: {secretRef", "postgresRole: {adminSecretRef")
        .replace("usernameKey: username", "usernameKey: user"),
      secret,
      pgCa,
    ),
    [
      "all.yaml:13: spec.credential.postgresRole.usernameKey: Secret orders-db has no key user; it has username, password",
    ],
  ],
  [
    "a header key that the Secret lacks",
    documents(openai, openaiSecret.replace("apiKey", "key")),
    [
      "all.yaml:8: spec.credential.static.header.value: Secret openai has no key apiKey; it has key",
    ],
  ],
  [
    "two Connections on one host and port",
    documents(connection, connection.replace("name: orders-db, ", "name: orders, ")),
    [
      "all.yaml:10: spec.hosts: connection orders also answers for orders-db:5432: give one of them other hosts",
      "all.yaml:26: spec.hosts: connection orders-db also answers for orders-db:5432: give one of them other hosts",
    ],
  ],
  [
    "two urls on one host with different paths are told apart",
    documents(
      openai,
      openai.replace("name: openai, ", "name: files, ").replace("com/v1", "com/files"),
    ),
    [],
  ],
  [
    "masking on a connection that cannot mask",
    documents(
      openai,
      policy
        .replace("name: orders-db}]", "name: openai}]")
        .replace(/ {2}rules:[^]*?(?= {2}masking)/, ""),
    ),
    [
      "all.yaml:22: spec.masking: answers of openai connections have no columns: give connection openai a policy that masks by detect",
      "all.yaml:27: spec.limits.rowsPerResult: openai connections cannot enforce rowsPerResult: give connection openai a policy without it",
    ],
  ],
  [
    "masks, limits of rows and rules about requests on TLS that is not opened",
    documents(
      `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: pypi, namespace: agents}
spec: {protocol: passthrough, endpoint: {host: pypi.org}}
`,
      `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: pypi, namespace: agents}
spec:
  targetRefs: [{name: pypi}]
  rules:
    - {name: read, action: Allow, http: {methods: [GET], paths: [/simple/**]}}
    - {name: sealed, action: Allow, passthrough: {hosts: [pypi.org]}}
  masking:
    - {detect: [email], transform: {redact: {}}}
  limits: {rowsPerResult: 5, idleTimeout: 5m}
`,
    ),
    [
      "all.yaml:12: spec.rules[0].http: a http block needs a connection of protocol http or openai or anthropic or gemini or bedrock, and the targets are pypi (passthrough)",
      "all.yaml:14: spec.masking: masking on passthrough connections is impossible, since their TLS is not opened: give connection pypi a policy without masking",
      "all.yaml:16: spec.limits.rowsPerResult: passthrough connections cannot enforce rowsPerResult: give connection pypi a policy without it",
    ],
  ],
  [
    "a passthrough connection and another on one host and port",
    documents(
      `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: pypi, namespace: agents}
spec: {protocol: passthrough, endpoint: {host: pypi.org}}
`,
      `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: simple, namespace: agents}
spec: {protocol: http, endpoint: {url: "https://pypi.org/simple"}}
`,
    ),
    [
      "all.yaml:4: spec.endpoint.host: connection simple also answers for pypi.org:443: give one of them other hosts",
      "all.yaml:9: spec.endpoint.url: connection pypi also answers for pypi.org:443: give one of them other hosts or another path in its url",
    ],
  ],
  [
    "detectors that are not known, of rules and of masks",
    documents(
      `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: openai, namespace: agents}
spec: {protocol: openai, endpoint: {url: "https://api.openai.com/v1"}}
`,
      `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: agents}
spec:
  targetRefs: [{name: openai}]
  detectors: [{name: order, pattern: "ORD-[0-9]{6}"}]
  rules:
    - name: r
      action: Deny
      llm: {detect: [email, order, passport]}
    - {name: s, action: Deny, sql: {detect: [order, passport]}}
  masking:
    - {detect: [visa], transform: {redact: {}}}
`,
    ),
    [
      ["passport", "15: spec.rules[0].llm.detect[2]"],
      ["passport", "16: spec.rules[1].sql.detect[1]"],
      ["visa", "18: spec.masking[0].detect[0]"],
    ].map(
      ([name, at]) =>
        `all.yaml:${at}: the detector ${name} is not known: known are email, credit-card, iban, us-ssn, phone, ip, jwt, private-key, aws-key, national-id, cloud-key, order; define others in spec.detectors`,
    ),
  ],
  [
    "a rule that the whole cluster denies, and a ClusterAccessPolicy with a namespace or that allows",
    documents(
      connection,
      `apiVersion: chaperone.dev/v1alpha1
kind: ClusterAccessPolicy
metadata: {name: no-drop}
spec: {rules: [{name: no-drop, action: Deny, sql: {statements: [drop]}}]}
`,
      `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: agents}
spec:
  targetRefs: [{name: orders-db}]
  rules:
    - {name: read, action: Allow, sql: {statements: [select]}}
    - {name: drop, action: Allow, sql: {statements: [drop]}}
`,
      `apiVersion: chaperone.dev/v1alpha1
kind: ClusterAccessPolicy
metadata: {name: wrong, namespace: agents}
spec: {rules: [{name: all, action: Allow}]}
`,
    ),
    [
      "all.yaml:29: spec.rules[1]: can never take effect: rule no-drop of policy */no-drop denies everything it matches",
      "all.yaml:33: metadata.namespace: the kind belongs to no namespace: remove metadata.namespace",
      "all.yaml:34: spec.rules[0].action: a ClusterAccessPolicy restricts and never allows: write Allow in an AccessPolicy of the namespace",
    ],
  ],
  [
    "the same object twice",
    documents(connection, connection),
    ["all.yaml:19: metadata.name: is defined twice; also at all.yaml:3"],
  ],
  [
    "a kind and a version that do not exist",
    "apiVersion: chaperone.dev/v1\nkind: Connection\nmetadata: {name: a}\n---\napiVersion: chaperone.dev/v1alpha1\nkind: AccessReview\nmetadata: {name: a}\n",
    [
      "all.yaml:1: apiVersion: is chaperone.dev/v1; this version reads chaperone.dev/v1alpha1",
      "all.yaml:6: kind: chaperone.dev has no kind AccessReview in this version; it has Connection, AccessPolicy, ClusterAccessPolicy, AccessRequest, Quarantine, AccessSession",
    ],
  ],
];

for (const [title, text, expected, options] of between) {
  test(`check: ${title}`, () => assert.deepEqual(said(text, options), expected));
}

test("a sql block is refused when no target speaks SQL", () => {
  const text = documents(
    openai,
    policy.replace("name: orders-db}]", "name: openai}]").replace(/ {2}masking:[^]*$/, ""),
  );
  assert.match(
    said(text)[0] ?? "",
    /^all.yaml:\d+: spec.rules\[0\].sql: a sql block needs a connection of protocol postgres, and the targets are openai \(openai\)$/,
  );
});

test("a rule that another policy always overrules is reported, and one that it only narrows is not", () => {
  const other = policy
    .replace("name: invoice-agent, ", "name: freeze, ")
    .replace(
      / {2}subjects:[^]*$/,
      "  rules: [{name: nothing-on-orders, action: Deny, sql: {statements: [select], relations: ['public.*']}}]\n",
    );
  assert.deepEqual(
    said(documents(connection, policy, other)).filter((text) =>
      text.includes("can never take effect"),
    ),
    [
      "all.yaml:28: spec.rules[0]: can never take effect: rule nothing-on-orders of policy freeze denies everything it matches",
    ],
  );
  assert.deepEqual(
    said(documents(connection, policy, other.replace("'public.*'", "public.orders"))),
    [],
  );
  assert.deepEqual(
    said(documents(connection, policy, other.replace("  rules:", "  mode: Observe\n  rules:"))),
    [],
  );
  assert.deepEqual(
    said(
      documents(
        connection,
        policy,
        other.replace("  rules:", "  subjects: [{serviceAccounts: [someone-else]}]\n  rules:"),
      ),
    ),
    [],
  );
});

const syntax: readonly [string, string, RegExp][] = [
  ["a broken document", "kind: [a\nb: c", /^all.yaml:\d+: Flow sequence/],
  [
    "a key given twice",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nkind: Secret\n",
    /^all.yaml:4: the key kind is given twice$/,
  ],
  [
    "aliases that unfold without end",
    "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nmetadata: [*c,*c,*c,*c,*c,*c,*c]\n",
    /Excessive alias count/,
  ],
  ["nesting without end", "[".repeat(100_000), /nested too deeply/],
  ["a file that is too large", "#".repeat(4 * 1024 * 1024 + 1), /split it$/],
  ["an unknown tag", "metadata: !vault x", /Unresolved tag/],
  ["text instead of an object", "hello", /is no manifest/],
  [
    "a truth word where text is asked",
    connection
      .replace("username, password", "username, password")
      .replace("database: orders", "database: yes"),
    /spec.postgres.database: must be text, not true or false: write it in quotes$/,
  ],
  [
    "a Secret with a number",
    secret.replace("s3cret", "12345"),
    /stringData.password: must be text, not a number: write it in quotes$/,
  ],
  [
    "a Secret that is no base64",
    openaiSecret.replace("c2stMQ==", "sk-1"),
    /data.apiKey: is no base64; plain text goes into stringData$/,
  ],
];

for (const [title, text, expected] of syntax) {
  test(`check: ${title} is one clear line`, () => assert.match(said(text)[0] ?? "", expected));
}

test("no message repeats a secret", () => {
  const texts = [
    secret.replace("s3cret", "[hunter2]"),
    openai.replace("https://", "https://me:hunter2@"),
    openai.replace("Bearer ${apiKey}", "Bearer hunter2"),
    openai.replace("Bearer ${apiKey}", "hunter2\\n"),
  ];
  for (const text of texts) {
    const lines = said(text);
    assert.notDeepEqual(lines, []);
    assert.ok(!lines.join("\n").includes("hunter2"), lines.join("\n"));
  }
});

test("a List is read item by item and lines point into it", () => {
  const list =
    "apiVersion: v1\nkind: List\nitems:\n  - apiVersion: chaperone.dev/v1alpha1\n    kind: Quarantine\n    metadata: {name: q}\n    spec:\n      all: true\n      reason: ''\n";
  assert.deepEqual(said(list), ["all.yaml:9: spec.reason: must not be empty"]);
});

test("objects without a namespace get the given one", () => {
  const result = checkSources(
    [{ path: "a.yaml", text: connection.replace(", namespace: agents", "") }],
    { namespace: "team" },
  );
  assert.deepEqual(result.problems, []);
  assert.equal(result.connections[0]?.metadata.namespace, "team");
});

test("folders are read below, in order, leaving out what is no manifest", async () => {
  const folder = await mkdtemp(join(tmpdir(), "chaperone-check-"));
  try {
    await mkdir(join(folder, "b"));
    await writeFile(join(folder, "b", "connection.yaml"), connection);
    await writeFile(join(folder, "a.yml"), policy);
    await writeFile(join(folder, "values.yaml"), "replicas: 2\n");
    await writeFile(join(folder, "kustomization.yaml"), "resources: [a.yml]\n");
    await writeFile(join(folder, "notes.txt"), "{{");
    const result = await checkFiles([folder, join(folder, "a.yml")], readManifestFiles);
    assert.deepEqual(result.problems, []);
    assert.equal(result.policies.length, 1);
    assert.equal(result.connections.length, 1);
    await assert.rejects(
      checkFiles([join(folder, "nowhere")], readManifestFiles),
      /there is no such file or folder/,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
