/** What else could stand in front of an API: nginx, asking a service about each key, or looking keys up in Lua itself. */
import { freePort } from "../local/ports.ts";
import { keyOf } from "./keys.ts";
import { LUA_MODULES, type Server, startNginx } from "./nginx.ts";
import { startNode } from "./origin.ts";

export interface Peers extends Server {
  /** Proxies, and nothing else. */
  readonly plain: string;
  readonly authRequest: string;
  /** Null without the module. */
  readonly lua: string | null;
}

export async function startPeers(folder: string, originPort: number): Promise<Peers> {
  const [plain, authRequest, lua, service] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const known = new Set([keyOf(0)]);
  const node = await startNode(service, ({ headers }, response) => {
    response.writeHead(known.has(headers.authorization ?? "") ? 204 : 401).end();
  });
  const keepAlive = 'proxy_http_version 1.1; proxy_set_header Connection "";';
  const http = `
  upstream origin { server 127.0.0.1:${originPort}; keepalive 32; }
  upstream service { server 127.0.0.1:${service}; keepalive 32; }
  server { listen 127.0.0.1:${plain}; location / { proxy_pass http://origin; ${keepAlive} } }
  server {
    listen 127.0.0.1:${authRequest};
    location / { auth_request /auth; proxy_pass http://origin; ${keepAlive} }
    location = /auth {
      internal;
      proxy_pass http://service;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      ${keepAlive}
    }
  }
  ${LUA_MODULES === null ? "" : luaServer(lua)}`;
  const nginx = await startNginx(folder, "peers", http, plain, LUA_MODULES ?? []);
  const stop = async () => {
    await nginx.stop();
    await node.stop();
  };
  const at = (port: number) => `http://127.0.0.1:${port}`;
  return {
    pid: nginx.pid,
    plain: at(plain),
    authRequest: at(authRequest),
    lua: LUA_MODULES && at(lua),
    stop,
  };
}

/** Looks the key up in shared memory and counts the minute there. */
function luaServer(port: number): string {
  return `
  lua_shared_dict keys 10m;
  lua_shared_dict counts 10m;
  init_by_lua_block { ngx.shared.keys:set("${keyOf(0)}", "bench") }
  server {
    listen 127.0.0.1:${port};
    location / {
      access_by_lua_block {
        local key = ngx.var.http_authorization
        local tenant = key and ngx.shared.keys:get(key)
        if not tenant then return ngx.exit(401) end
        local minute = math.floor(ngx.now() / 60)
        local used = ngx.shared.counts:incr(tenant .. ":" .. minute, 1, 0, 120)
        if used > 1000000000 then return ngx.exit(429) end
      }
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
    }
  }`;
}
