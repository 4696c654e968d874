/** Where a key may be used from. */
import ipaddr from "ipaddr.js";

/** `networks`: in CIDR notation; empty for everywhere. An address that the platform does not tell is in none. */
export function isAllowedFrom(networks: readonly string[], address: string | null): boolean {
  if (networks.length === 0) return true;
  if (address === null || !ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  return networks.some((network) => {
    const [base, bits] = ipaddr.parseCIDR(network);
    return parsed.kind() === base.kind() && parsed.match(base, bits);
  });
}

/** In CIDR notation, with the bits of the host cleared; null for what is neither an address nor a network. */
export function canonicalNetwork(text: string): string | null {
  // Four numbers or colons: the shorthands that the library also takes mean something else to most people.
  if (!/^(?:(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:\/\d+)?$/.test(text))
    return null;
  if (ipaddr.isValidCIDR(text)) {
    const [address, bits] = ipaddr.parseCIDR(text);
    const base =
      address.kind() === "ipv4"
        ? ipaddr.IPv4.networkAddressFromCIDR(text)
        : ipaddr.IPv6.networkAddressFromCIDR(text);
    return `${base.toString()}/${bits}`;
  }
  if (!ipaddr.isValid(text)) return null;
  const address = ipaddr.process(text);
  return `${address.toString()}/${address.kind() === "ipv4" ? 32 : 128}`;
}
