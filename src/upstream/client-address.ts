/**
 * The address of the client, or null where the platform does not tell. Cloudflare sets `CF-Connecting-IP` itself
 * and describes the connection in `request.cf`; plain workerd passes the header on as any client may have sent
 * it, and gives the peer as `request.cf.clientIp` (address and port) instead.
 */
export function clientAddressOf(request: Request): string | null {
  const cf = request.cf as { clientIp?: unknown } | undefined;
  if (cf === undefined) return null;
  if (typeof cf.clientIp !== "string") return request.headers.get("CF-Connecting-IP");
  return /^\[(.+)\](?::\d+)?$|^([^:]+):\d+$/.exec(cf.clientIp)?.slice(1).find(Boolean) ?? cf.clientIp;
}
