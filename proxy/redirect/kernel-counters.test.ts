import assert from "node:assert/strict";
import { test } from "node:test";

import type { ProxyError } from "../errors.ts";
import { foreignPeers, packetCounts } from "./kernel-counters.ts";
import { watchRefusedPackets } from "./refused-packets.ts";

const snmp = (discards: number, pings: number): string =>
  `Ip: Forwarding OutDiscards OutNoRoutes\nIp: 2 ${discards} 0\nIcmpMsg: InType3 OutType8\nIcmpMsg: 4 ${pings}\n`;
const udp =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
  "  1: 0200000A:1389 097100CB:007B 01 00000000:00000000 00:00000000 00000000  1000        0 1 2\n" +
  "  2: 0200000A:1390 0A00600A:0035 01 00000000:00000000 00:00000000 00000000 64535        0 1 2\n" +
  "  3: 00000000:1391 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 1 2\n" +
  "  4: 0100007F:1392 0100007F:3A9D 01 00000000:00000000 00:00000000 00000000  1000        0 1 2\n";
const udp6 = "header\n  1: 0:1 B80D0120000000000000000001000000:0035 01 0:0 0:0 0  1000 0 1 2\n";

test("counts are those of both families", () => {
  assert.deepEqual(packetCounts(snmp(3, 2), "Ip6OutDiscards   4\nIcmp6OutType128\t1\n"), {
    refused: 7,
    pings: 3,
  });
  assert.deepEqual(packetCounts("", ""), { refused: 0, pings: 0 });
});

test("peers are named of others' sockets alone, and none on loopback", () => {
  const tables = [
    { protocol: "udp", text: udp },
    { protocol: "udp6", text: udp6 },
  ];
  assert.deepEqual(foreignPeers(tables, 64_535), ["udp 203.0.113.9:123", "udp [2001:db8::1]:53"]);
});

test("what was refused is told with how many and where to, once", () => {
  let discards = 5;
  const told: ProxyError[] = [];
  const watch = watchRefusedPackets({
    onRefused: (error) => told.push(error),
    read: (path) =>
      path.endsWith("/snmp") ? snmp(discards, discards - 5) : path.endsWith("/udp") ? udp : "",
    ownUid: 64_535,
    everyMs: 1_000_000,
  });
  discards = 7;
  watch.close();
  watch.close();
  assert.deepEqual(
    told.map(({ code, message }) => [code, message]),
    [
      [
        "PacketsRefused",
        "2 packets were refused (2 of them pings): only TCP and DNS leave this pod, through the proxy; UDP and ICMP reach nobody; sockets open now: udp 203.0.113.9:123",
      ],
    ],
  );
});
