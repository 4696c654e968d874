/**
 * `npm start`: the gateway on bare workerd in front of the stand-in Postiz. Two runs of workerd, because a port
 * that answers must already know the demo tenants: the first listens in the file system only, says whether the
 * configuration is good, and seeds; the second serves.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as demo from "./demo.ts";
import { buildAll, gatewayServices } from "./gateway.ts";
import { readOptions, type StartOptions, USAGE } from "./options.ts";
import { findPorts } from "./ports.ts";
import { ROOT } from "./project.ts";
import { preparePrivate, requireValid, runCommand, seedDemo, serve, untilEnd } from "./run.ts";

process.exit(await runCommand(USAGE, main));

async function main(signal: AbortSignal): Promise<number> {
  const options = readOptions(process.argv.slice(2), process.env);
  if (!options.help) return start(options, signal);
  console.log(USAGE);
  return 0;
}

async function start(options: StartOptions, signal: AbortSignal): Promise<number> {
  const { port, origin } = options;
  const originPort = await findPorts("127.0.0.1", port, "Set PORT to another one");
  const standIn = `http://127.0.0.1:${originPort}`;
  const vars = { ...demo.DEMO_VARS, ORIGIN_URL: origin ?? standIn, ...options.vars };
  requireValid(vars);
  // A folder for each port, so that two gateways on one machine do not share one.
  const stateDir = join(ROOT, ".state/demo", String(port));
  if (!options.keep) await rm(stateDir, { recursive: true, force: true });
  await preparePrivate(stateDir);
  console.log("Building the gateway …");
  const build = await buildAll(stateDir, demo.DEMO_WORKERS, signal);

  const run = { stateDir, build, services: gatewayServices(build, vars), signal };
  const address = `127.0.0.1:${port}`;
  await seedDemo(run, address);
  const workerd = await serve(run, address, {
    workers: origin === null ? [demo.originService(build)] : [],
    sockets: origin === null ? [demo.originSocket(originPort)] : [],
  });
  console.log(demo.banner(`http://${address}`, vars.ORIGIN_URL, vars.ORIGIN_URL === standIn));
  return untilEnd(workerd, signal);
}
