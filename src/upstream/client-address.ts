/**
 * The address of the client, or null where the platform does not tell. Cloudflare sets `CF-Connecting-IP` itself
 * and describes the connection in `request.cf`; plain workerd passes the header on as any client may have sent
 * it, and gives the peer as `request.cf.clientIp` (address and port) instead.
 */
import ipaddr from "ipaddr.js";

/** Networks of proxies whose `X-Forwarded-For` is believed. */
export type Networks = readonly (readonly [ipaddr.IPv4 | ipaddr.IPv6, number])[];

export function clientAddressOf(request: Request, trustedProxies: Networks): string | null {
  const cf = request.cf as { clientIp?: unknown } | undefined;
  if (cf === undefined) return null;
  if (typeof cf.clientIp !== "string") return request.headers.get("CF-Connecting-IP");
  const peer = /^\[(.+)\](?::\d+)?$|^([^:]+):\d+$/.exec(cf.clientIp)?.slice(1).find(Boolean) ?? cf.clientIp;
  return trustedProxies.length === 0 ? peer : behindProxies(peer, request.headers, trustedProxies);
}

/**
 * Each proxy appends the address that it was called from, so the list is read from its end, for as long as what was
 * read is a trusted proxy's: further left stands whatever a client has written.
 */
function behindProxies(peer: string, headers: Headers, trusted: Networks): string {
  const forwarded = (headers.get("X-Forwarded-For") ?? "").split(",").map((address) => address.trim());
  let nearest = peer;
  while (forwarded.length > 0 && isIn(nearest, trusted)) {
    const next = forwarded.pop() ?? "";
    if (!ipaddr.isValid(next)) break;
    nearest = next;
  }
  return nearest;
}

function isIn(address: string, networks: Networks): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  return networks.some(([base, bits]) => parsed.kind() === base.kind() && parsed.match(base, bits));
}
