/** Host names: whose they are, and who is served under them. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { type TenantId, tenantIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import { canonicalHostName, hostNameIn } from "../../src/entitlement/hosts.ts";
import { World } from "../support/world.ts";

const [ACME, RIVAL, PLAIN] = [tenantIdOf("acme"), tenantIdOf("rival"), tenantIdOf("plain")];
const HOST = "posts.acme.example";
const OTHER_HOST = "posts.rival.example";
const keyOf = (tenantId: TenantId): Credential => ({
  kind: "api_key",
  secret: digestOf(`key of ${tenantId}`),
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

async function tenants(...ids: TenantId[]): Promise<World> {
  const world = new World();
  for (const id of ids) {
    const digest = digestOf(keyOf(id).secret);
    const key = { digest, keyId: "main", name: "", expiresAtMs: null };
    await world.authority(id).import(
      id,
      [
        { type: "tenant", tenantId: id, name: id },
        { type: "api_key", tenantId: id, ...key },
      ],
      "tests",
    );
  }
  await world.pass(1);
  return world;
}

const bind = (world: World, id: TenantId, ...allowedHosts: string[]) =>
  world.authority(id).changeTenant({ allowedHosts }, null, "tests");

async function outcome(world: World, id: TenantId, host: string, isolate = world.isolate()): Promise<string> {
  const { result } = await world.ask(isolate, keyOf(id), { host });
  return result.ok ? result.value.grant.verdict : result.denial.reason;
}

describe("a host name", () => {
  it.each([
    ["api.example.com", "api.example.com"],
    ["API.Example.COM:8443", "api.example.com"],
    ["api.example.com.", "api.example.com"],
    ["api.example.com.:443", "api.example.com"],
    ["[::1]:8787", "[::1]"],
  ])("in the Host field %s is %s", (field, name) => expect(hostNameIn(field)).toBe(name));

  it.each([
    ["Api.Example.com", "api.example.com"],
    ["api.example.com.", "api.example.com"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["localhost", "localhost"],
    ["a_b.example", "a_b.example"],
    [`${"a".repeat(63)}.example`, `${"a".repeat(63)}.example`],
    [`${"a".repeat(64)}.example`, null],
    ["*.example.com", null],
    ["example.com:80", null],
    ["https://example.com", null],
    ["user@example.com", null],
    ["exa mple.com", null],
    ["-a.example", null],
    ["a..example", null],
    ["[::1]", null],
    ["", null],
  ])("written as %s is %s", (text, name) => expect(canonicalHostName(text)).toBe(name));

  it("is served to its tenant alone, and its tenant nowhere else", async () => {
    const world = await tenants(ACME, RIVAL, PLAIN);
    expect((await bind(world, ACME, HOST)).ok).toBe(true);
    expect((await bind(world, RIVAL, OTHER_HOST)).ok).toBe(true);
    await world.pass(1);
    const found = await Promise.all(
      [ACME, RIVAL, PLAIN].flatMap((id) =>
        [HOST, OTHER_HOST, "gateway.example"].map((host) => outcome(world, id, host)),
      ),
    );
    const [yes, no] = ["granted", "host_not_allowed"];
    expect(found).toEqual([yes, no, no, no, yes, no, no, no, yes]);
  });

  it("is one tenant's, of two that ask at the same time; the other is told, and changes nothing", async () => {
    const world = await tenants(ACME, RIVAL);
    const [first, second] = await Promise.all([
      bind(world, ACME, HOST),
      bind(world, RIVAL, OTHER_HOST, HOST),
    ]);
    expect([first?.ok, second?.ok]).toEqual([true, false]);
    expect(second).toMatchObject({
      problem: "not_possible",
      detail: `The host name "${HOST}" is another tenant's`,
    });
    const tenant = world.authority(RIVAL).tenant();
    expect(tenant.ok && tenant.value.allowedHosts).toEqual([]);
  });

  it("that is given up can be another's, whatever KV still says", async () => {
    const world = await tenants(ACME, RIVAL);
    await bind(world, ACME, HOST);
    await world.pass(1);
    const stale = world.credentials.stored.get(`host:${HOST}`) ?? "";
    await bind(world, ACME);
    expect((await bind(world, RIVAL, HOST)).ok).toBe(true);
    await world.pass(1);
    expect(JSON.parse(world.credentials.stored.get(`host:${HOST}`) ?? "")).toEqual({
      v: 1,
      tenantId: "rival",
    });
    expect(await outcome(world, ACME, HOST)).toBe("host_not_allowed");
    world.credentials.stored.set(`host:${HOST}`, stale);
    expect(await outcome(world, RIVAL, HOST)).toBe("granted");
  });

  /** Both list the name, or one lists it and the directory has another: what must never be. */
  function expectOneOwner(world: World): void {
    const listing = [ACME, RIVAL].filter((id) => {
      const tenant = world.authority(id).tenant();
      return tenant.ok && tenant.value.allowedHosts.includes(HOST);
    });
    expect(listing.length).toBeLessThanOrEqual(1);
    if (listing[0] !== undefined) expect(world.ownerOf(`host:${HOST}`)).toBe(listing[0]);
  }

  it("has one owner also where two changes of a tenant cross, and another tenant comes in between", async () => {
    const world = await tenants(ACME, RIVAL);
    await bind(world, ACME, HOST);
    await world.pass(1);
    let others: Promise<unknown> | null = null;
    world.after = async (method) => {
      if (method !== "directory.claim" || others !== null) return;
      others = (async () => {
        await bind(world, ACME);
        await world.pass(1);
        await bind(world, RIVAL, HOST);
      })();
      await Promise.race([others, Promise.resolve()]);
    };
    await bind(world, ACME, HOST, "new.acme.example");
    await others;
    await world.pass(1);
    expectOneOwner(world);
  });

  it("that is let go of and wanted again while the directory hears of the first is one owner's", async () => {
    const world = await tenants(ACME, RIVAL);
    await bind(world, ACME, HOST);
    await world.pass(1);
    let letGo: (() => void) | null = null;
    world.before = (method) => {
      if (method !== "directory.pass") return;
      return new Promise<void>((resolve) => {
        letGo = resolve;
      });
    };
    await bind(world, ACME);
    const passing = world.pass(1);
    await Promise.resolve();
    const again = await bind(world, ACME, HOST);
    expect(again).toMatchObject({ ok: false, problem: "not_possible" });
    world.before = () => {};
    (letGo as (() => void) | null)?.();
    await passing;
    await world.pass(11_000);
    expect((await bind(world, RIVAL, HOST)).ok).toBe(true);
    await world.pass(1);
    expectOneOwner(world);
  });

  it("that nobody lists any more is not kept from others by what the directory was told late", async () => {
    const world = await tenants(ACME, RIVAL);
    await bind(world, ACME, HOST);
    await world.pass(1);
    await bind(world, ACME);
    await world.pass(1);
    // As a confirmation that comes long after.
    await world.env().DIRECTORY.getByName("").pass(`host:${HOST}`, ACME, ACME);
    await world.env().DIRECTORY.getByName("").claim(`host:${HOST}`, ACME);
    await world.env().DIRECTORY.getByName("").pass(`host:${HOST}`, ACME, ACME);
    expect((await bind(world, RIVAL, HOST)).ok).toBe(true);
  });

  it("is not given to a tenant that stands for one credential, and without the directory nothing changes", async () => {
    const world = await tenants(ACME);
    world.before = (method) => {
      if (method.startsWith("directory.")) throw new Error("the directory was reset");
    };
    expect(await bind(world, ACME, HOST)).toMatchObject({ ok: false, problem: "directory_unavailable" });
    const tenant = world.authority(ACME).tenant();
    expect(tenant.ok && tenant.value.allowedHosts).toEqual([]);
  });

  it("of a deleted tenant is nobody's", async () => {
    const world = await tenants(ACME, RIVAL);
    await bind(world, ACME, HOST);
    await world.pass(1);
    await world.authority(ACME).deleteTenant(null, "tests");
    await world.pass(1);
    expect((await bind(world, RIVAL, HOST)).ok).toBe(true);
  });

  it("that was claimed for a change that never came is another's after a minute", async () => {
    const world = await tenants(ACME, RIVAL);
    const late = await world.authority(ACME).changeTenant({ allowedHosts: [HOST] }, 99, "tests");
    expect(late).toMatchObject({ problem: "precondition_failed" });
    expect((await bind(world, RIVAL, HOST)).ok).toBe(false);
    await world.pass(60_000);
    expect((await bind(world, RIVAL, HOST)).ok).toBe(true);
  });
});

describe("whose a host name is", () => {
  it("is read once by an isolate, then again in the background: nobody waits", async () => {
    const world = await tenants(ACME);
    const isolate = world.isolate();
    await outcome(world, ACME, HOST, isolate);
    world.credentials.hostReads = 0;
    for (let i = 0; i < 100; i++) await outcome(world, ACME, HOST, isolate);
    expect(world.credentials.hostReads).toBe(0);
    await world.pass(60_000);
    for (let i = 0; i < 100; i++) await outcome(world, ACME, HOST, isolate);
    expect(world.credentials.hostReads).toBe(1);
  });

  it("goes on being known where KV fails; where nobody knows it is 503, and never a guess", async () => {
    const world = await tenants(ACME, PLAIN);
    await bind(world, ACME, HOST);
    await world.pass(1);
    const isolate = world.isolate();
    expect(await outcome(world, PLAIN, HOST, isolate)).toBe("host_not_allowed");
    expect(await outcome(world, PLAIN, "gateway.example", isolate)).toBe("granted");
    world.credentials.fails = true;
    await world.pass(120_000);
    expect(await outcome(world, PLAIN, HOST, isolate)).toBe("host_not_allowed");
    expect(await outcome(world, PLAIN, "gateway.example", isolate)).toBe("granted");
    world.credentials.hostReads = 0;
    for (let i = 0; i < 20; i++) await outcome(world, PLAIN, "gateway.example", isolate);
    // In the background.
    expect(world.credentials.hostReads).toBeLessThanOrEqual(1);
    expect(await outcome(world, PLAIN, "new.example", isolate)).toBe("credentials_unavailable");
    world.credentials.fails = false;
    world.credentials.stored.set("host:new.example", "{");
    expect(await outcome(world, PLAIN, "new.example", isolate)).toBe("credentials_unavailable");
  });
});
