// `quarantine add | list | lift`: cut subjects off now, and restore them.
import type { Backend } from "../backend.ts";
import { WrongUse } from "../exit.ts";
import { age, json, table } from "../output.ts";

interface AddOptions {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly pod?: string;
  readonly connection?: string;
  readonly all?: boolean;
  readonly reason: string;
}

export async function add(backend: Backend, options: AddOptions): Promise<void> {
  try {
    const { namespace, serviceAccount, pod, connection, all, reason } = options;
    const chosen = [serviceAccount, pod, connection, all === true ? "all" : undefined].filter(
      (value) => value !== undefined,
    );
    if (chosen.length !== 1)
      throw new WrongUse(
        "say whom to cut off with exactly one of --service-account, --pod, --connection and --all",
      );
    const row = await backend.addQuarantine({
      reason,
      ...(namespace === undefined ? {} : { namespace }),
      ...(serviceAccount === undefined ? {} : { serviceAccount }),
      ...(pod === undefined ? {} : { pod }),
      ...(connection === undefined ? {} : { connection }),
      ...(all === true ? { all } : {}),
    });
    process.stdout.write(
      `quarantine ${row.name} is in force: ${row.selects}\nlift it with: chaperone quarantine lift ${row.name}\n`,
    );
  } finally {
    await backend.close();
  }
}

export async function list(backend: Backend, options: { output: string }): Promise<void> {
  try {
    const rows = await backend.quarantines();
    if (options.output === "json") process.stdout.write(json(rows));
    else if (rows.length === 0) process.stderr.write("no quarantine is in force\n");
    else
      process.stdout.write(
        table(
          ["NAMESPACE", "NAME", "SELECTS", "AGE", "REASON"],
          rows.map((row) => [
            row.namespace,
            row.name,
            row.selects,
            age(row.createdAt, Date.now()),
            row.reason,
          ]),
        ),
      );
  } finally {
    await backend.close();
  }
}

export async function lift(
  backend: Backend,
  name: string,
  options: { namespace?: string },
): Promise<void> {
  try {
    await backend.liftQuarantine(options.namespace, name);
    process.stdout.write(`quarantine ${name} is lifted\n`);
  } finally {
    await backend.close();
  }
}
