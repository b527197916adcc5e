// Loopback addresses of one room: several suites may stand on this machine at a time, and each wants port 443.
import { randomInt } from "node:crypto";
import type { AddressMap } from "../../../contract/addresses.ts";

export interface RoomAddresses {
  readonly names: string;
  readonly origin: string;
  readonly openai: string;
  /** Nobody listens there: where a name leads that a client shall not dial. */
  readonly nowhere: string;
  /** The plan's own, moved to a place of this room's within 127.0.64.0/18. */
  moved(plan: AddressMap): AddressMap;
}

export function roomAddresses(): RoomAddresses {
  const net = `127.${randomInt(64, 250)}.${randomInt(1, 250)}`;
  const block = randomInt(64, 128);
  return {
    names: `${net}.1`,
    origin: `${net}.2`,
    openai: `${net}.3`,
    nowhere: `${net}.9`,
    moved: (plan) => ({
      ...plan,
      connections: plan.connections.map((entry) => ({
        ...entry,
        hosts: entry.hosts.map(({ name, address }) => ({
          name,
          address: address.replace(/^127\.0\.64\./, `127.0.${block}.`),
        })),
      })),
    }),
  };
}
