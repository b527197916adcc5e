// How the demo speaks, and how it fails: every claim is checked the moment it is made.

export function chapter(text: string): void {
  process.stdout.write(`\n\u2501\u2501 ${text}\n`);
}

export function narrate(text: string): void {
  process.stdout.write(`   ${text.replaceAll("\n", "\n   ")}\n`);
}

/** Prints a tick, or ends the demo with what was seen instead. */
export function check(claim: string, holds: boolean, seen: string): void {
  if (holds) {
    process.stdout.write(` \u2713 ${claim}\n`);
    return;
  }
  process.stdout.write(` \u2717 ${claim}\n   seen instead: ${seen}\n`);
  throw new Error(`the demo's step "${claim}" did not happen as told`);
}

export function finish(started: number): void {
  process.stdout.write(
    `\nDone in ${((Date.now() - started) / 1000).toFixed(1)} s. What to type next:\n` +
      "  node_modules/.bin/node dist/chaperone.mjs --help\n" +
      "  less examples/demo/policies/invoice-agent.yaml      the policy you just saw at work\n" +
      '  node_modules/.bin/node dist/chaperone.mjs explain -f examples/quickstart --service-account invoice-agent --connection orders-db --sql "DROP TABLE orders"\n' +
      "  make cluster                                        the same on a real Kubernetes node\n",
  );
}
