/**
 * Writes workerd's configuration as text that a person can read, compare and run by hand. Pure: what goes into
 * it is decided elsewhere.
 */

/** One process: its Workers, and the addresses it listens on. */
export interface WorkerdConfig {
  /** Said at the top of the file. */
  readonly about: string;
  readonly workers: readonly WorkerService[];
  readonly sockets: readonly Socket[];
  /** Where Durable Objects keep their SQLite files. */
  readonly storagePath: string;
}

export interface WorkerService {
  /** In camel case: it becomes the name of a constant. */
  readonly name: string;
  readonly about: string;
  readonly modules: readonly Module[];
  readonly compatibilityDate: string;
  readonly compatibilityFlags: readonly string[];
  readonly bindings: readonly Binding[];
  /** Classes of the Worker's own Durable Objects, all on SQLite. */
  readonly durableObjects: readonly string[];
}

export interface Module {
  readonly name: string;
  readonly kind: "esModule" | "text" | "data" | "wasm";
  /** Relative to the configuration file. */
  readonly path: string;
}

export interface Binding {
  readonly name: string;
  readonly value: BindingValue;
}

type BindingValue =
  | { readonly kind: "text" | "json"; readonly text: string }
  | {
      readonly kind: "service" | "kvNamespace";
      readonly service: string;
      readonly entrypoint?: string;
      readonly props?: object;
    }
  | { readonly kind: "durableObjectNamespace"; readonly service: string; readonly className: string };

export interface Socket {
  readonly name: string;
  readonly about: string;
  /** `127.0.0.1:8787`, or `unix:/path`. */
  readonly address: string;
  readonly service: string;
}

export function renderConfig(config: WorkerdConfig): string {
  return `# ${config.about}
# Generated at every start: changes are lost. May hold secrets that were given as variables.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    # Where the Workers' fetch() goes. An origin may be on this machine or in its network.
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    # The Durable Objects' SQLite files.
    (name = "storage", disk = (path = ${quote(config.storagePath)}, writable = true)),
${config.workers.map(({ name }) => `    (name = ${quote(name)}, worker = .${name}),`).join("\n")}
  ],
  sockets = [
${config.sockets.map(socket).join("\n")}
  ],
);
${config.workers.map(worker).join("")}`;
}

function socket({ name, about, address, service }: Socket): string {
  return `    # ${about}
    (name = ${quote(name)}, address = ${quote(address)}, http = (), service = ${quote(service)}),`;
}

function worker(service: WorkerService): string {
  const { compatibilityFlags: flags, durableObjects } = service;
  const fields = [
    list("modules", service.modules.map(module)),
    `  compatibilityDate = ${quote(service.compatibilityDate)},`,
    flags.length > 0 ? `  compatibilityFlags = [${flags.map(quote).join(", ")}],` : "",
    list("bindings", service.bindings.map(binding)),
    list(
      "durableObjectNamespaces",
      durableObjects.map((name) => durableObject(service.name, name)),
    ),
    durableObjects.length > 0 ? '  durableObjectStorage = (localDisk = "storage"),' : "",
  ].filter((field) => field !== "");
  return `
# ${service.about}
const ${service.name} :Workerd.Worker = (
${fields.join("\n")}
);
`;
}

function list(name: string, items: readonly string[]): string {
  return items.length === 0 ? "" : `  ${name} = [\n${items.map((item) => `    ${item},\n`).join("")}  ],`;
}

function module({ name, kind, path }: Module): string {
  return `(name = ${quote(name)}, ${kind} = embed ${quote(path)})`;
}

/** The unique key names the folder of the objects' files: changing it would orphan what they hold. */
function durableObject(service: string, className: string): string {
  return `(className = ${quote(className)}, uniqueKey = ${quote(`${service}-${className}`)}, enableSql = true)`;
}

function binding({ name, value }: Binding): string {
  return `(name = ${quote(name)}, ${bindingValue(value)})`;
}

function bindingValue(value: BindingValue): string {
  switch (value.kind) {
    case "text":
    case "json":
      return `${value.kind} = ${quote(value.text)}`;
    case "durableObjectNamespace":
      return `${value.kind} = (className = ${quote(value.className)}, serviceName = ${quote(value.service)})`;
    default: {
      const props = value.props ? `, props = (json = ${quote(JSON.stringify(value.props))})` : "";
      const entrypoint = value.entrypoint ? `, entrypoint = ${quote(value.entrypoint)}` : "";
      return `${value.kind} = (name = ${quote(value.service)}${entrypoint}${props})`;
    }
  }
}

/** Cap'n Proto's string literals escape as C does, byte by byte; it knows no `\u`. */
function quote(text: string): string {
  const escaped = text
    .replace(/["\\]/g, "\\$&")
    .replace(/[\p{Cc}]/gu, (character) =>
      [...new TextEncoder().encode(character)]
        .map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`)
        .join(""),
    );
  return `"${escaped}"`;
}
