/** `make cluster`: brings the test cluster up, or says that it is, and prints how to use it. `--with-chaperone` installs the product. */
import { readConfig } from "./config.ts";
import { installChaperone } from "./chaperone.ts";
import { main, reporter } from "./command.ts";
import { withLock } from "./lock.ts";
import { providerOf } from "./provider.ts";

await main(async () => {
  const config = readConfig();
  const report = reporter(process.stderr);
  const provider = providerOf(config);
  await withLock(config, report, async () => {
    if (await provider.isUp(config)) report("the cluster is already up");
    else await provider.up(config, report);
    if (process.argv.includes("--with-chaperone")) await installChaperone(config, report);
  });
  if (config.provider === "local") process.stdout.write(`export PATH="${config.binLink}:$PATH"\n`);
  process.stdout.write(`export KUBECONFIG="${config.kubeconfig}"\n`);
});
