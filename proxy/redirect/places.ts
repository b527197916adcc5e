// Which name a redirected connection was dialled by: its destination is an address that the proxy's DNS gave out for one name alone. Pure.
import type { AddressMap } from "../../contract/addresses.ts";
import { isVirtualAddress, virtualIPv6 } from "../../contract/redirect.ts";
import type { NamedAddresses } from "../dns/answer.ts";

/** Undefined: an address that nobody was told. */
export type NameOf = (address: string) => string | undefined;

export function namedAddresses({ connections }: AddressMap): NamedAddresses {
  return new Map(
    connections.flatMap(({ hosts }) => hosts.map(({ name, address }) => [name, address] as const)),
  );
}

export function namesByAddress(names: NamedAddresses): NameOf {
  const byAddress = new Map<string, string>();
  for (const [name, address] of names) {
    if (!isVirtualAddress(address)) throw new Error(`${address} is no address for redirected pods`);
    byAddress.set(address, name);
    byAddress.set(virtualIPv6(address), name);
  }
  return (address) => byAddress.get(address);
}
