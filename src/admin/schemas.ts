/** What the admin API takes and gives, as schemas: checked on every request, and published as OpenAPI. */
import * as z from "zod";
import { IDENTIFIER, isUnlinked, tenantIdOf } from "../authority/tenant-id.ts";
import { canonicalHostName } from "../entitlement/hosts.ts";
import { canonicalNetwork } from "../entitlement/networks.ts";
import { SCOPES } from "../entitlement/scopes.ts";
import { SUBSCRIPTION_STATUSES } from "../entitlement/subscription.ts";
import { POLICY_NAMES } from "../quota/policy.ts";

const MAX_LIMIT = 1_000_000_000;
const MAX_GRACE_SECONDS = 2_592_000;

const tenantId = z
  .string()
  .regex(IDENTIFIER, 'a tenant id is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"')
  .refine((id) => !isUnlinked(id), 'ids that begin with "unlinked-" are the gateway\'s own')
  .meta({ description: "1 to 64 of A-Z, a-z, 0-9, _ and -; not beginning with unlinked-" })
  .transform(tenantIdOf);
const name = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), "text without control characters");
const time = z.iso.datetime({ offset: true }).meta({ description: "RFC 3339" });
const limit = z.int().min(1).max(MAX_LIMIT);
const scopes = z
  .array(z.enum(SCOPES))
  .min(1)
  .max(SCOPES.length)
  .refine((held) => new Set(held).size === held.length, "each scope once");
const network = z
  .string()
  .max(64)
  .refine((text) => canonicalNetwork(text) !== null, "an IP address, or a network in CIDR notation")
  .transform((text) => canonicalNetwork(text) ?? text);
const allowedNetworks = z.array(network).max(100);

const shadowPolicies = z
  .array(z.enum(POLICY_NAMES))
  .refine((names) => new Set(names).size === names.length, "each policy once");
const hostName = z
  .string()
  .max(253)
  .refine((text) => canonicalHostName(text) !== null, "a host name, without port or wildcard")
  .transform((text) => canonicalHostName(text) ?? text);
const allowedHosts = z
  .array(hostName)
  .max(50)
  .refine((names) => new Set(names).size === names.length, "each host name once");

const limits = z.strictObject({
  postsPerHour: limit.nullable().optional(),
  apiPerMinute: limit.nullable().optional(),
});

export const newTenant = z.strictObject({ id: tenantId, name });
export const tenantChange = z.strictObject({
  name: name.optional(),
  limits: limits.optional(),
  shadowPolicies: shadowPolicies.optional(),
  allowedHosts: allowedHosts.optional(),
});
export const newSubscription = z.strictObject({
  status: z.enum(SUBSCRIPTION_STATUSES),
  tier: z
    .string()
    .max(64)
    .refine((text) => text.isWellFormed(), "well-formed text")
    .nullable()
    .optional(),
  currentPeriodEnd: time.nullable().optional(),
});
/** As it is sent to Postiz: visible ASCII without commas. */
export const originKey = z.strictObject({
  key: z
    .string()
    .regex(/^[\x21-\x2b\x2d-\x7e]{1,512}$/, "1 to 512 visible ASCII characters without commas")
    .refine((key) => !key.startsWith("pgw_"), "a key of Postiz's, not one of the gateway's own"),
});
export const newKey = z.strictObject({
  name,
  scopes,
  expiresAt: time.nullable().optional(),
  allowedNetworks: allowedNetworks.optional(),
  apiPerMinute: limit.nullable().optional(),
});
export const keyChange = newKey.partial();
export const rotation = z.strictObject({
  graceSeconds: z.int().min(0).max(MAX_GRACE_SECONDS).default(86_400),
});
export const someKey = z.strictObject({ key: z.string().min(1).max(512) });
export const someToken = z.strictObject({ token: z.string().regex(/^pos_[A-Za-z0-9]{40}$/, "a pos_ token") });
export const resealing = z.strictObject({
  cursor: z.string().max(128).optional(),
  limit: z.int().min(1).max(100).default(50),
});
export const question = z.strictObject({
  method: z.string().regex(/^[A-Za-z]{1,20}$/),
  path: z.string().min(1).max(4_096).startsWith("/"),
  key: z.string().max(1_024),
  clientAddress: z.union([z.ipv4(), z.ipv6()]).optional(),
  host: hostName.optional(),
});
export const page = z.object({
  cursor: z.string().max(128).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(50),
});

const tenantRef = { tenantId };
const digest = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "a digest is 64 lower-case hex digits")
  .optional();
const brought = {
  ...tenantRef,
  digest,
  keyId: z.string().regex(IDENTIFIER, 'a key id is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"').optional(),
  name: z.union([name, z.literal("")]).optional(),
  expiresAt: time.nullable().optional(),
  apiPerMinute: limit.nullable().optional(),
  scopes: scopes.optional(),
  allowedNetworks: allowedNetworks.optional(),
  disabled: z.boolean().optional(),
};
export const importedKey = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("api_key"), ...brought, key: originKey.shape.key.optional() }),
  z.strictObject({ type: z.literal("token"), ...brought, token: someToken.shape.token.optional() }),
]);
export const importLine = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("tenant"),
    ...newTenant.shape,
    limits: limits.optional(),
    shadowPolicies: shadowPolicies.optional(),
  }),
  z.strictObject({ type: z.literal("subscription"), ...tenantRef, ...newSubscription.shape }),
  z.strictObject({ type: z.literal("origin_key"), ...tenantRef, ...originKey.shape }),
  ...importedKey.options,
]);

export const problemDetails = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    code: z.string(),
    msg: z.string(),
    errors: z.array(z.object({ field: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem" });
const instant = z.string().nullable().meta({ description: "RFC 3339, UTC" });
export const tenant = z
  .object({
    id: z.string(),
    name: z.string(),
    status: z.enum(["active", "deleted"]),
    subscription: z.object({
      status: z.enum(SUBSCRIPTION_STATUSES),
      tier: z.string().nullable(),
      currentPeriodEnd: instant,
    }),
    limits: z.object({ postsPerHour: z.int().nullable(), apiPerMinute: z.int().nullable() }),
    shadowPolicies: z.array(z.enum(POLICY_NAMES)),
    allowedHosts: z.array(z.string()),
    hasOriginKey: z.boolean(),
    createdAt: instant,
    version: z.int(),
  })
  .meta({ id: "Tenant" });
export const tenantSummary = z
  .object({ id: z.string(), name: z.string(), status: z.string() })
  .meta({ id: "TenantSummary" });
const keyFields = {
  id: z.string(),
  kind: z.enum(["api_key", "oauth_token", "gateway_key"]),
  name: z.string(),
  hint: z.string(),
  state: z.enum(["active", "disabled", "revoked", "expired"]),
  scopes: z.array(z.enum(SCOPES)),
  allowedNetworks: z.array(z.string()),
  apiPerMinute: z.int().nullable(),
  createdAt: instant,
  expiresAt: instant,
  lastUsedAt: instant,
  lastUsedCountry: z.string().nullable(),
  predecessor: z.object({ hint: z.string(), expiresAt: instant }).nullable(),
  version: z.int(),
};
export const key = z.object(keyFields).meta({ id: "Key" });
const effect = {
  effectiveBy: z.string().meta({ description: "RFC 3339; refused everywhere from then on" }),
  degradedUntil: z
    .string()
    .optional()
    .meta({ description: "RFC 3339; also where the authority can't be reached" }),
};
export const tenantEffect = tenant.extend(effect).meta({ id: "TenantEffect" });
export const keyEffect = z.object({ ...keyFields, ...effect }).meta({ id: "KeyEffect" });
const secret = z.string().meta({ description: "The key itself; shown this once" });
export const issuedKey = z.object({ ...keyFields, key: secret.optional() }).meta({ id: "IssuedKey" });
export const rotatedKey = z.object({ ...keyFields, ...effect, key: secret }).meta({ id: "RotatedKey" });
export const effectOnly = z.object(effect).meta({ id: "Effect" });
export const auditEntry = z
  .object({
    at: z.string(),
    actor: z.string(),
    action: z.string(),
    tenantId: z.string(),
    keyId: z.string().nullable(),
    before: z.looseObject({}).nullable(),
    after: z.looseObject({}).nullable(),
  })
  .meta({ id: "AuditEntry" });
export const list = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });
const quota = z.object({
  limit: z.int(),
  remaining: z.int(),
  windowSeconds: z.int(),
  resetSeconds: z.int(),
  outstanding: z.int(),
  inShadow: z.boolean(),
  passedInShadow: z.int(),
});
export const usage = z
  .object({
    posts: quota,
    keys: z.array(z.object({ id: z.string(), name: z.string(), api: quota.nullable(), lastUsedAt: instant })),
  })
  .meta({ id: "Usage" });
export const verdict = z
  .object({
    valid: z.boolean(),
    reason: z.string().nullable(),
    tenantId: z.string().nullable(),
    keyId: z.string().nullable(),
  })
  .meta({ id: "Verdict" });
export const resealed = z
  .object({
    checked: z.int(),
    resealed: z.int(),
    unreadable: z.array(z.string()),
    nextCursor: z.string().nullable(),
  })
  .meta({ id: "Resealed" });
export const explanation = z
  .object({
    outcome: z.string(),
    stages: z.array(
      z.object({ stage: z.string(), verdict: z.enum(["pass", "refuse", "not_reached"]), detail: z.string() }),
    ),
  })
  .meta({ id: "Explanation" });
export const whoami = z.object({ actor: z.string() }).meta({ id: "Operator" });
export const self = z
  .object({
    tenant: z.object({ id: z.string(), name: z.string(), subscription: tenant.shape.subscription }),
    key,
  })
  .meta({ id: "Self" });
