// What a hostile program says to the kernel itself to get out of a redirected pod: protocols beside TCP and UDP, links, devices, routes of
// its own. Each is first seen to get out of a pod without rules, where this kernel has it.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { agentUid, lacking, pod, PodNetwork, proxyUid, world } from "./redirect-network.ts";

const skip = (await lacking(["perl"])) ?? false;

async function network(t: TestContext, isGuarded: boolean): Promise<PodNetwork> {
  const made = await PodNetwork.create(t);
  await made.start("world", 0, "test/integration/redirect-world.ts");
  if (!isGuarded) return made;
  const loaded = made.run("pod", 0, "proxy/redirect/init.ts", [], {
    CHAPERONE_PROXY_UID: String(proxyUid),
    CHAPERONE_INBOUND: "tcp:15020,tcp:8080",
  });
  assert.equal(loaded.status, 0, loaded.stderr);
  await made.start("pod", proxyUid, "test/integration/redirect-proxy.ts", [world.v4]);
  return made;
}

/** Address of the world on the pod's own link, with the zone that a program writes behind it. */
function linkLocal(made: PodNetwork): string {
  const address = made.perl(
    "world",
    0,
    `for (\`ip -6 -o addr show dev cable scope link\`) { print $1 if m{inet6 (fe80[^/]*)/} }`,
  );
  assert.match(address, /^fe80:/);
  return `${address}%eth0`;
}

const head = `use Socket; $SIG{ALRM} = sub { print "silence"; exit 0 }; alarm 3;
sub said { my $ok = shift; print $ok ? "sent" : 0 + $! == 1 ? "EPERM" : "$!"; exit 0 }
sub heard { my $s = shift; my $line = <$s>; print defined $line ? $line : "nothing (" . ($! || "closed") . ")"; exit 0 }`;

const at = (host: string, port: number): string =>
  `pack_sockaddr_in(${port}, inet_aton("${host}"))`;

interface Attack {
  readonly what: string;
  readonly script: string;
  /** What it comes to where nothing holds it; anything else means that this kernel does not have it. */
  readonly open: string;
  readonly held: RegExp;
}

/** UDP multicast and broadcast, and the two sockets that are bound: every kernel has these. */
const everywhere = 4;

const attacks: readonly Attack[] = [
  {
    what: "UDP-Lite",
    script: `socket(S, 2, 2, 136) or said(0); said(send(S, "x", 0, ${at(world.v4, 9)}))`,
    open: "sent",
    held: /^(EPERM|Protocol not supported)$/,
  },
  {
    what: "SCTP",
    script: `socket(S, 2, 1, 132) or said(0); said(connect(S, ${at(world.v4, 80)}) || $! == 111)`,
    open: "sent",
    held: /^(EPERM|silence|Permission denied|Connection .*|Protocol not supported)$/,
  },
  {
    what: "multicast",
    script: `socket(S, 2, 2, 17) or said(0); said(send(S, "x", 0, ${at("224.0.0.251", 5353)}))`,
    open: "sent",
    held: /^(EPERM|Protocol not supported)$/,
  },
  {
    what: "multicast over IPv6, on the pod's link",
    script: `socket(S, 10, 2, 17) or said(0); my ($i) = \`ip -o link show eth0\` =~ /^(\\d+)/;
      my $to = pack("SnNa16L", 10, 5353, 0, Socket::inet_pton(10, "ff02::fb"), $i); said(send(S, "x", 0, $to))`,
    open: "sent",
    held: /^(EPERM|Protocol not supported)$/,
  },
  {
    what: "a broadcast",
    script: `socket(S, 2, 2, 17) or said(0); setsockopt(S, 1, 6, 1); said(send(S, "x", 0, ${at("10.77.0.255", 9)}))`,
    open: "sent",
    held: /^(EPERM|Protocol not supported)$/,
  },
  {
    what: "a route of its own, in the packet's options",
    script: `socket(S, 2, 1, 6) or said(0);
      setsockopt(S, 0, 4, pack("C*", 131, 7, 4, split(/\\./, "${world.v4}"), 1)) or said(0);
      connect(S, ${at("1.1.1.1", 80)}) or said(0); heard(*S)`,
    open: "the world",
    held: /^(nothing|Connection|EPERM|silence)/,
  },
  {
    what: "a socket that is bound to a port which may be reached from outside",
    script: `socket(S, 2, 1, 6) or said(0); setsockopt(S, 1, 2, 1); bind(S, ${at(pod.v4, 8080)}) or said(0);
      connect(S, ${at(world.v4, 80)}) or said(0); heard(*S)`,
    open: "the world",
    held: /^(nothing|Connection|EPERM|silence)/,
  },
  {
    what: "a socket that is bound to the pod's own device",
    script: `socket(S, 2, 1, 6) or said(0); setsockopt(S, 1, 25, "eth0\\0") or said(0);
      connect(S, ${at(world.v4, 80)}) or said(0); heard(*S)`,
    open: "the world",
    held: /^(nothing|Connection|EPERM|silence|No route)/,
  },
];

test(
  "by no protocol, device, port or route of its own does a program get out",
  { skip },
  async (t) => {
    const free = await network(t, false);
    const held = await network(t, true);
    free.shell("world", [
      "sysctl -q -w net.ipv4.conf.all.accept_source_route=1 net.ipv4.conf.cable.accept_source_route=1",
    ]);
    let shown = 0;
    for (const { what, script, open, held: wanted } of attacks)
      for (const uid of [agentUid, 0]) {
        const found = free.perl("pod", uid, `${head}\n${script}`);
        if (found === open) shown += 1;
        else t.diagnostic(`${what} as ${uid}: not in this kernel (${found})`);
        assert.match(held.perl("pod", uid, `${head}\n${script}`), wanted, `${what} as ${uid}`);
      }
    assert.ok(shown >= 2 * everywhere, `${shown} ways out were open without rules`);
  },
);

test(
  "loopback leads nowhere but to the pod: not for a socket that is bound to it and dials elsewhere",
  { skip },
  async (t) => {
    const held = await network(t, true);
    for (const uid of [agentUid, 0]) {
      const found = held.perl(
        "pod",
        uid,
        `${head}\nsocket(S, 2, 1, 6) or said(0); setsockopt(S, 1, 25, "lo\\0") or said(0);
       connect(S, ${at(world.v4, 80)}) or said(0); heard(*S)`,
      );
      assert.doesNotMatch(found, /the world|^sent$/);
    }
  },
);

test(
  "the link's own addresses and IPv4 in IPv6 dress come to the proxy too",
  { skip },
  async (t) => {
    const free = await network(t, false);
    const held = await network(t, true);
    const tried = (made: PodNetwork, uid: number): string[] =>
      made
        .run("pod", uid, "test/integration/redirect-agent.ts", [
          `tcp|${linkLocal(made)}|80`,
          `tcp|::ffff:${world.v4}|80`,
          `udp|${linkLocal(made)}|9`,
        ])
        .stdout.trim()
        .split("\n");
    assert.deepEqual(tried(free, agentUid), ["the world", "the world", "an echo"]);
    for (const uid of [agentUid, 0]) {
      const [link, dressed, datagram] = tried(held, uid);
      assert.ok(link !== "the world", link);
      assert.equal(dressed, "ECONNRESET");
      assert.equal(datagram, "EPERM");
    }
  },
);
