/**
 * Who sends: tenants by Zipf's law, of whom a sample is simulated. Ranks are taken in strata that double, [1, 2), [2, 4), [4, 8)
 * and so on. A tenant that is simulated has the traffic, the keys, the limits and the isolates that it would have among all;
 * what is measured of a stratum counts for the traffic of all its tenants.
 */
import { type Tag, tagOf } from "../src/authority/tag.ts";
import { type TenantId, tenantIdOf } from "../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../src/credential/credential.ts";
import type { Geography } from "./geography.ts";
import { Random } from "./random.ts";
import type { Demand } from "./tally.ts";

/** How large the world is. */
export interface Size {
  readonly tenants: number;
  /** All together, at the peak. */
  readonly requestsPerSecond: number;
  readonly locations: number;
  readonly maxIsolates: number;
}

export interface Stratum {
  /** First and last rank, from 1 on. */
  readonly from: number;
  readonly to: number;
  /** Requests a second of all its tenants. */
  readonly perSecond: number;
  /** Tenants of it that are simulated. */
  readonly sample: number;
  /** Too busy to be simulated with the others. */
  readonly isHot: boolean;
}

export interface Key {
  readonly tenant: Tenant;
  readonly keyId: string;
  readonly credential: Credential;
  readonly digest: string;
  /** Requests a minute. */
  readonly limit: number;
  readonly demand: Demand;
}

export interface Tenant {
  readonly id: TenantId;
  readonly tag: Tag;
  readonly stratum: number;
  /** Requests a second; of these `posts`. */
  readonly perSecond: number;
  readonly postsShare: number;
  readonly postsPerHour: number;
  /** Locations near its clients, the first of which is its authority's, and how much comes from each. */
  readonly homes: readonly (readonly [location: number, share: number])[];
  readonly keys: readonly Key[];
  readonly isToken: boolean;
}

const MOST_OF_A_STRATUM = 128;
export const MAX_KEYS = 16;
const POSTS_SHARE = 0.01;
const MAX_POSTS_PER_SECOND = 1;
const API_PER_MINUTE = 600;
const POSTS_PER_HOUR = 30;
const KINDS = 10;

/** One in `scale` tenants is simulated, of thinly used ones fewer. */
export function strataOf({ tenants, requestsPerSecond }: Size, scale: number): Stratum[] {
  let whole = 0;
  for (let rank = 1; rank <= tenants; rank++) whole += 1 / rank;
  const strata: Stratum[] = [];
  for (let from = 1; from <= tenants; from *= 2) {
    const to = Math.min(2 * from - 1, tenants);
    let part = 0;
    for (let rank = from; rank <= to; rank++) part += 1 / rank;
    const isHot = from < scale;
    const sample = isHot ? 1 : Math.max(1, Math.min(MOST_OF_A_STRATUM, Math.round((to - from + 1) / scale)));
    strata.push({ from, to, perSecond: (requestsPerSecond * part) / whole, sample, isHot });
  }
  return strata;
}

/** How much of its limits a tenant uses, and what its credentials are. */
export interface Kind {
  readonly demand: Demand;
  readonly isToken: boolean;
}

/** One tenant in ten sends a fifth more than it may, one in ten four fifths of it, and one in ten uses tokens. */
function kindOf(nth: number): Kind {
  const demand = nth % KINDS === 1 ? "beyond" : nth % KINDS === 2 ? "near" : "far";
  return { demand, isToken: nth % KINDS === 3 };
}

/** A hot stratum has one tenant: these take their turns by rank, from a place on that is left to chance. */
export function kindOfHot(stratum: number, seed: string): Kind {
  return kindOf(stratum + new Random(`${seed} kinds`).below(KINDS));
}

/** `kind`: of the nth of them. */
export function tenantsOf(
  stratum: Stratum,
  index: number,
  geography: Geography,
  seed: string,
  hour: number,
  kind: (nth: number) => Kind = kindOf,
): Tenant[] {
  const random = new Random(`${seed} population ${index}`);
  const mean = stratum.perSecond / (stratum.to - stratum.from + 1);
  return Array.from({ length: stratum.sample }, (_, i) => {
    const homes = homesOf(geography, random);
    const longitude = geography.locations[homes[0]?.[0] ?? 0]?.longitude ?? 0;
    // Of the few that are hot each is its stratum.
    const perSecond = mean * (stratum.isHot ? 1 : daily(hour + longitude / 15));
    return tenant(`${seed}-${index}-${i}`, index, perSecond, homes, kind(i), random);
  });
}

/** How busy people are at that hour of theirs, on the average 1: three times as busy in the afternoon as in the night. */
export function daily(hour: number): number {
  return 1 + 0.5 * Math.cos((2 * Math.PI * (hour - 15)) / 24);
}

function homesOf(geography: Geography, random: Random): Tenant["homes"] {
  const [first, second] = [geography.somewhere(random), geography.somewhere(random)];
  if (random.next() < 0.5) return [[first, 0.8]];
  return [
    [first, 0.55],
    [second, 0.25],
  ];
}

function tenant(
  name: string,
  stratum: number,
  perSecond: number,
  homes: Tenant["homes"],
  { demand, isToken }: Kind,
  random: Random,
): Tenant {
  const id = tenantIdOf(`sim-${digestOf(name).slice(0, 24)}`);
  const keys: Key[] = [];
  const count = Math.max(2, Math.min(MAX_KEYS, Math.round(Math.sqrt(perSecond))));
  const each = (60 * perSecond) / count;
  const made: Tenant = {
    id,
    tag: tagOf(id),
    stratum,
    perSecond,
    postsShare: Math.min(POSTS_SHARE, MAX_POSTS_PER_SECOND / perSecond),
    postsPerHour: Math.max(POSTS_PER_HOUR, Math.ceil(2 * 3_600 * Math.min(POSTS_SHARE * perSecond, 1))),
    homes,
    keys,
    isToken,
  };
  for (let i = 0; i < count; i++) {
    const digits = digestOf(`${name} ${i} ${random.next()}`);
    const secret = isToken ? `pos_${digits.slice(0, 40)}` : digits;
    const credential: Credential = { kind: isToken ? "oauth_token" : "api_key", secret };
    keys.push({
      tenant: made,
      keyId: `k${i}`,
      credential,
      digest: digestOf(secret),
      ...limitOf(each, demand),
    });
  }
  return made;
}

/** Who sends only a few requests is far from every limit. */
function limitOf(perMinute: number, demand: Demand): Pick<Key, "limit" | "demand"> {
  if (perMinute >= 20 && demand === "beyond") return { limit: Math.ceil(perMinute / 1.2), demand };
  if (perMinute >= 20 && demand === "near") return { limit: Math.ceil(perMinute / 0.8), demand };
  return { limit: Math.max(API_PER_MINUTE, Math.ceil(3 * perMinute)), demand: "far" };
}
