import { handle } from "./edge.ts";
import type { Env } from "./env.ts";

export { TenantAuthority } from "./authority/tenant-authority.ts";

export default { fetch: handle } satisfies ExportedHandler<Env>;
