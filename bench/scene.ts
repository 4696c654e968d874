/** Everything that is measured, and what it needs, as processes of this machine. */
import { join } from "node:path";
import type { Socket, WorkerService } from "../local/capnp.ts";
import {
  type Build,
  buildAll,
  durableObjectBinding,
  gatewayServices,
  kvBinding,
  varBindings,
  workerService,
} from "../local/gateway.ts";
import { freePort } from "../local/ports.ts";
import { startWorkerd } from "../local/workerd.ts";
import { hasNginx, type Server } from "./nginx.ts";
import { startOrigin } from "./origin.ts";
import { type Peers, startPeers } from "./peers.ts";

const WORKERS = {
  forward: "bench/forward-worker.ts",
  floor: "bench/floor-worker.ts",
  seeder: "bench/seeder.ts",
  counting: "bench/counting-worker.ts",
};

/** A gateway, and two Workers that it is compared with, in one process. */
interface Gateway extends Server {
  readonly gateway: string;
  readonly forward: string;
  readonly floor: string;
}

export interface Scene {
  readonly measured: Gateway;
  /** The same gateway, slower by the counting; not for anything timed. */
  readonly counting: Gateway;
  /** Null without nginx. */
  readonly peers: Peers | null;
  stop(): Promise<void>;
}

/** `keys`: how many there are to be. */
export async function setScene(folder: string, keys: number, signal: AbortSignal): Promise<Scene> {
  const started: Server[] = [];
  const stop = async () => {
    for (const server of started.toReversed()) await server.stop();
  };
  const keep = async <Kind extends Server>(server: Promise<Kind>): Promise<Kind> => {
    const running = await server;
    started.push(running);
    return running;
  };
  try {
    const originPort = await freePort();
    await keep(startOrigin(folder, originPort));
    const peers = hasNginx ? await keep(startPeers(folder, originPort)) : null;
    const build = await buildAll(folder, WORKERS, signal);
    const originUrl = `http://127.0.0.1:${originPort}`;
    const services = gatewayServices(build, { ORIGIN_URL: originUrl });
    const measured = await keep(startGateway(join(folder, "measured"), build, services, originUrl, signal));
    const watched = services.map((service) =>
      service.name === "gateway" ? { ...service, modules: build.workers["counting"] ?? [] } : service,
    );
    const counting = await keep(startGateway(join(folder, "counting"), build, watched, originUrl, signal));
    for (const { seeder } of [measured, counting]) {
      const { status } = await fetch(`${seeder}/?keys=${keys}`, { method: "POST" });
      if (status !== 204) throw new Error(`the seeder answered ${status}`);
    }
    return { measured, counting, peers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startGateway(
  stateDir: string,
  build: Build,
  services: readonly WorkerService[],
  originUrl: string,
  signal: AbortSignal,
): Promise<Gateway & { readonly seeder: string }> {
  const forward = {
    ...workerService(build, "forward", "Only forwards."),
    bindings: varBindings({ ORIGIN_URL: originUrl }),
  };
  const floor = {
    ...workerService(build, "floor", "Keeps the wire's promises, and decides nothing."),
    bindings: [
      ...varBindings({ ORIGIN_URL: originUrl }),
      { name: "EVENT_STORE", value: { kind: "service", service: "events" } } as const,
    ],
  };
  const seeder = {
    ...workerService(build, "seeder", "Seeds."),
    bindings: [durableObjectBinding("TENANT_AUTHORITY", "TenantAuthority"), kvBinding("CREDENTIALS")],
  };
  const socket = (service: string): Socket => {
    return { name: service, about: service, address: "127.0.0.1:0", service };
  };
  // Modules are found beside the configuration.
  const fileName = `../${stateDir.split("/").at(-1)}.capnp`;
  const workerd = await startWorkerd({
    stateDir,
    fileName,
    config: {
      about: "The benchmark.",
      workers: [...services, forward, floor, seeder],
      sockets: ["gateway", "forward", "floor", "seeder"].map(socket),
      storagePath: join(stateDir, "storage"),
    },
    signal,
    output: "ignore",
  });
  const at = (name: string) => `http://127.0.0.1:${workerd.ports.get(name)}`;
  return {
    pid: workerd.pid,
    gateway: at("gateway"),
    forward: at("forward"),
    floor: at("floor"),
    seeder: at("seeder"),
    stop: workerd.stop,
  };
}
