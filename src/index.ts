import { handle } from "./edge.ts";
import type { Env } from "./env.ts";

export { Directory } from "./authority/directory.ts";
export { TenantAuthority } from "./authority/tenant-authority.ts";

export default { fetch: handle } satisfies ExportedHandler<Env>;
