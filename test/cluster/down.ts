/** `make cluster-down`: takes the test cluster down and fails if anything of it stays. */
import { readConfig } from "./config.ts";
import { main, reporter } from "./command.ts";
import { withLock } from "./lock.ts";
import { providerOf } from "./provider.ts";

await main(async () => {
  const config = readConfig();
  const report = reporter(process.stderr);
  await withLock(config, report, () => providerOf(config).down(config, report));
});
