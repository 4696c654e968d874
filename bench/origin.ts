/** A fast origin: nginx, where the machine has one. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Origin {
  stop(): Promise<void>;
}

/** Answers everything alike, `is-connected` as Postiz does. */
export async function startOrigin(folder: string, port: number): Promise<Origin> {
  mkdirSync(join(folder, "nginx"), { recursive: true });
  const config = join(folder, "nginx.conf");
  writeFileSync(
    config,
    `daemon off;
worker_processes 1;
pid ${folder}/nginx/pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${folder}/nginx/body;
  proxy_temp_path ${folder}/nginx/proxy;
  fastcgi_temp_path ${folder}/nginx/fastcgi;
  uwsgi_temp_path ${folder}/nginx/uwsgi;
  scgi_temp_path ${folder}/nginx/scgi;
  default_type application/json;
  server {
    listen 127.0.0.1:${port};
    location / { return 200 '{"connected":true}'; }
  }
}
`,
  );
  const nginx = spawn("nginx", ["-c", config], { stdio: ["ignore", "inherit", "inherit"] });
  const ended = new Promise<void>((resolve) => {
    nginx.once("exit", () => resolve());
    nginx.once("error", () => resolve());
  });
  for (let tries = 0; tries < 100; tries++) {
    const answers = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (answers) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    stop: async () => {
      nginx.kill("SIGTERM");
      await ended;
    },
  };
}
