/** nginx, where the machine has one: as the origin, and as the peer that the gateway is compared with. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../local/project.ts";

export interface Server {
  /** Of the process that does the work. */
  readonly pid: number;
  stop(): Promise<void>;
}

export const hasNginx = spawnSync("nginx", ["-v"]).error === undefined;

/** Modules that bring Lua into nginx; null where they are not installed. */
export const LUA_MODULES = luaModules();

function luaModules(): string[] | null {
  if (!hasNginx) return null;
  const built = spawnSync("nginx", ["-V"], { encoding: "utf8" }).stderr;
  const folder = /--modules-path=(\S+)/.exec(built)?.[1] ?? "";
  const paths = ["ndk_http_module.so", "ngx_http_lua_module.so"].map((file) => join(folder, file));
  return paths.every((path) => existsSync(path)) ? paths : null;
}

/** `http`: what is inside `http { … }`; `port`: one that it listens on, asked until it answers. */
export async function startNginx(
  folder: string,
  name: string,
  http: string,
  port: number,
  modules: readonly string[] = [],
): Promise<Server> {
  const home = join(folder, name);
  mkdirSync(home, { recursive: true });
  const config = join(folder, `${name}.conf`);
  writeFileSync(
    config,
    `${modules.map((path) => `load_module ${path};`).join("\n")}
daemon off;
worker_processes 1;
pid ${home}/pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${home}/body;
  proxy_temp_path ${home}/proxy;
  fastcgi_temp_path ${home}/fastcgi;
  uwsgi_temp_path ${home}/uwsgi;
  scgi_temp_path ${home}/scgi;
  default_type application/json;
${http}
}
`,
  );
  const nginx = spawn("nginx", ["-c", config], { stdio: ["ignore", "inherit", "inherit"] });
  const ended = new Promise<void>((resolve) => {
    nginx.once("exit", () => resolve());
    nginx.once("error", () => resolve());
  });
  const stop = async () => {
    nginx.kill("SIGTERM");
    await ended;
  };
  try {
    await untilItAnswers(port, name);
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: workerOf(nginx.pid ?? 0), stop };
}

async function untilItAnswers(port: number, name: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const answers = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (answers) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new UserError(`nginx (${name}) did not start.`);
}

/** The master only watches. */
function workerOf(master: number): number {
  return Number(readFileSync(`/proc/${master}/task/${master}/children`, "utf8").trim().split(" ")[0]);
}
