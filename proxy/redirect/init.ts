// chaperone-init: loads the rules of its pod's network and ends. The only program of ours with a capability (NET_ADMIN).
import { loadRules } from "./load-rules.ts";
import { readInitConfig } from "./init-config.ts";

try {
  const config = readInitConfig(process.env);
  await loadRules(config);
  process.stdout.write(`${JSON.stringify({ event: "rules-loaded", ...config })}\n`);
} catch (error) {
  process.stderr.write(
    `${JSON.stringify({ event: "rules-not-loaded", error: error instanceof Error ? error.message : String(error) })}\n`,
  );
  process.exitCode = 1;
}
