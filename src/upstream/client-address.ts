/**
 * Who the client is and how it connected, as far as the platform tells. Cloudflare sets `CF-Connecting-IP` itself
 * and describes the connection in `request.cf`; plain workerd passes the header on as any client may have sent
 * it, and gives the peer as `request.cf.clientIp` (address and port) instead.
 */
import ipaddr from "ipaddr.js";

/** Networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed. */
export type Networks = readonly (readonly [ipaddr.IPv4 | ipaddr.IPv6, number])[];

export interface Client {
  /** Null where the platform does not tell. */
  readonly address: string | null;
  /** Null: as the connection to the gateway itself. */
  readonly protocol: "http" | "https" | null;
}

export function clientOf(request: Request, trustedProxies: Networks): Client {
  const { headers } = request;
  const cf = request.cf as { clientIp?: unknown } | undefined;
  if (cf === undefined) return { address: null, protocol: null };
  if (typeof cf.clientIp !== "string") return { address: headers.get("CF-Connecting-IP"), protocol: null };
  const peer = /^\[(.+)\](?::\d+)?$|^([^:]+):\d+$/.exec(cf.clientIp)?.slice(1).find(Boolean) ?? cf.clientIp;
  if (trustedProxies.length === 0 || !isIn(peer, trustedProxies)) return { address: peer, protocol: null };
  return { address: behindProxies(peer, headers, trustedProxies), protocol: protocolIn(headers) };
}

/** Where there are several proxies, the outermost is the one that the client has connected to. */
function protocolIn(headers: Headers): Client["protocol"] {
  const [outermost] = (headers.get("X-Forwarded-Proto") ?? "").split(",");
  const protocol = outermost?.trim().toLowerCase();
  return protocol === "http" || protocol === "https" ? protocol : null;
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
