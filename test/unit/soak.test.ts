/** The soak's own reckoning: that it adds up where it should, and that each of its rules can fail. */
import { describe, expect, it } from "vitest";
import {
  type Asked,
  type Fault,
  fullestWindow,
  type GatewayDown,
  type Ledger,
  type Limit,
  type Secret,
  type Seen,
  type Sent,
} from "../../soak/ledger.ts";
import { halves, type Sample } from "../../soak/measurements.ts";
import { Random } from "../../soak/random.ts";
import { reconcile } from "../../soak/reconcile.ts";
import { faultsOf } from "../../soak/report.ts";
import type { Outcome } from "../../soak/run.ts";
import type { GatewayEvent } from "../../src/telemetry/event.ts";

const START = 1_000_000;
const REVOKED_FROM = START + 10_000;

const secret: Secret = {
  name: "acme/key",
  tenant: "acme",
  keyId: "key",
  value: "…",
  phases: [
    { fromMs: 0, is: "good", reasons: [] },
    { fromMs: REVOKED_FROM - 2_000, is: "between", reasons: ["key_revoked"] },
    { fromMs: REVOKED_FROM, is: "ended", reasons: ["key_revoked"] },
  ],
  degradedUntilMs: 0,
};
const limit: Limit = { policy: "api", tenant: "acme", keyId: "key", limit: 3, windowMs: 60_000 };

type Change<T> = { -readonly [Key in keyof T]?: T[Key] };
interface Case {
  readonly sent: Sent;
  readonly seen: Seen | null;
  readonly event: GatewayEvent | null;
}

/** A request that went well, but for what is said. */
function request(
  id: number,
  sent: Change<Sent> = {},
  seen: Change<Seen> | null = {},
  event: object = {},
): Case {
  const requestId = `id-${id}`;
  const atMs = sent.sentAtMs ?? START + id;
  return {
    sent: {
      id,
      kind: "reads",
      manner: "plain",
      method: "GET",
      path: "/public/v1/posts",
      policy: "api",
      secret,
      refusedFor: null,
      bodyBytes: 0,
      sentAtMs: atMs,
      doneAtMs: atMs + 5,
      end: "whole",
      status: 200,
      requestId,
      reason: "",
      intact: true,
      ...sent,
    },
    seen: seen && {
      id,
      requestId,
      atMs: atMs + 1,
      tenant: "acme",
      fault: null,
      status: 200,
      end: "whole",
      endedAtMs: atMs + 4,
      body: "none",
      ...seen,
    },
    event: {
      requestId,
      tenant: sent.secret === null ? "" : "acme",
      keyId: sent.secret === null ? "" : "key",
      route: "/posts",
      status: sent.status ?? 200,
      outcome: sent.reason || "forwarded",
      degraded: false,
      ...event,
    } as GatewayEvent,
  };
}

const refusal = (id: number, reason: string, status: number, sent: Change<Sent> = {}) =>
  request(id, { reason, status, ...sent }, null);

function ledgerOf(cases: readonly Case[], more: Partial<Ledger> = {}): Ledger {
  return {
    sent: cases.map((each) => each.sent),
    seen: cases.flatMap((each) => each.seen ?? []),
    events: cases.flatMap((each) => each.event ?? []),
    limits: [limit],
    defaults: { api: 600, posts: 30 },
    usages: [],
    gatewayDowns: [],
    stops: [],
    asked: [],
    downs: [],
    ...more,
  };
}

const findings = (cases: readonly Case[], more: Partial<Ledger> = {}) =>
  reconcile(ledgerOf(cases, more)).findings.map(({ what, requestIds }) => [what, ...requestIds]);

const downAt = (atMs: number, by: GatewayDown["by"]) => [{ fromMs: atMs, untilMs: atMs + 3_000, by }];
const killedAt = (atMs: number) => downAt(atMs, "kill");
const without = (each: Case, what: "seen" | "event"): Case => ({ ...each, [what]: null });

describe("what adds up", () => {
  it("finds nothing, and says what it has looked at", () => {
    const cases = [
      request(1),
      refusal(2, "key_revoked", 401, { sentAtMs: REVOKED_FROM + 1, doneAtMs: REVOKED_FROM + 2 }),
      refusal(3, "key_unknown", 401, { secret: null, refusedFor: ["key_unknown"] }),
      request(4, { status: 504, reason: "origin_timeout" }, { fault: "hang", end: "closed" }),
      request(5, { end: "left", status: 0, requestId: "", intact: false }, { end: "closed" }),
    ];
    expect(findings(cases)).toEqual([]);
    const { checked } = reconcile(ledgerOf(cases));
    expect(checked.get("requests at the origin")).toBe(3);
    expect(checked.get("refused as it has to be: key_revoked")).toBe(1);
  });

  it("lets a kill take along the events of what was under way, or younger than they may be", () => {
    const young = without(request(1), "event");
    expect(findings([young], { gatewayDowns: killedAt(START + 1_500) })).toEqual([]);
    expect(reconcile(ledgerOf([young], { gatewayDowns: killedAt(START + 1_500) })).lostEvents).toBe(1);
    expect(findings([young], { gatewayDowns: killedAt(START + 2_500) })).toEqual([
      ["a request has no event", "id-1", "id-1"],
    ]);
  });

  it("lets a rollout leave who comes meanwhile, but not who was at the origin, and take no event along", () => {
    const gatewayDowns = downAt(START + 1_001, "rollout");
    const unheard = { end: "broken", status: 0, requestId: "", intact: false } as const;
    const late = without(request(1, { ...unheard, sentAtMs: START + 1_001 }, null), "event");
    expect(findings([late], { gatewayDowns })).toEqual([]);
    expect(findings([request(1, unheard)], { gatewayDowns })).toEqual([
      ["no answer (broken), and the gateway was there: reads", "id-1"],
    ]);
    expect(findings([without(request(1), "event")], { gatewayDowns })).toEqual([
      ["a request has no event", "id-1", "id-1"],
    ]);
  });
});

describe("every request exactly once", () => {
  it.each([
    [
      "the origin saw a request more than once",
      [request(1), { ...request(2), ...{ seen: request(1).seen } }],
    ],
    ["the origin saw what no client had sent", [{ ...request(1), sent: request(2).sent }]],
    ["a request has no event", [without(request(1), "event")]],
    ["a request has more than one event", [request(1), { ...request(2), event: request(1).event }]],
    ["an event says forwarded, and the origin has not seen it", [without(request(1), "seen")]],
    ["the origin saw another tenant's credential", [request(1, {}, { tenant: "other" })]],
    ["an event names another key than was sent", [request(1, {}, {}, { keyId: "other" })]],
    [
      "the origin saw a request whose event says key_unknown",
      [request(1, {}, {}, { outcome: "key_unknown" })],
    ],
    ["the origin got another body than was sent", [request(1, {}, { body: "wrong" })]],
    ["half a body was whole to the origin", [request(1, { manner: "leaves in body" }, { body: "whole" })]],
    ["an event has another status than the client got", [request(1, {}, {}, { status: 500 })]],
    ["an answer had no X-Request-Id", [request(1, { requestId: "" })]],
    ["client and origin were told different ids", [request(1, {}, { requestId: "other" })]],
    [
      "an event has another reason than the client got",
      [{ ...refusal(1, "key_unknown", 401), event: refusal(1, "key_revoked", 401).event }],
    ],
    [
      "an event has another reason than the client got",
      [request(1, {}, {}, { outcome: "origin_unreachable" })],
    ],
    ["two answers had the same X-Request-Id", [request(1), request(2, { requestId: "id-1" })]],
  ] as const)("%s", (what, cases) => {
    expect(findings(cases).map(([found]) => found)).toContain(what);
  });

  const ofBegun = (fault: Fault, outcome: string, sent: Change<Sent> = {}) =>
    request(1, { end: "cut", intact: false, ...sent }, { fault, end: "failed" }, { outcome });
  const left = { end: "left", intact: false, status: 0, requestId: "" } as const;
  const inBody = { ...left, manner: "leaves in body" } as const;

  it.each([
    ["a cut answer", "cut (cut)", ofBegun("cut", "forwarded")],
    ["a cut answer", "cut (cut)", ofBegun("cut", "origin_timeout")],
    ["a cut answer", "cut (cut)", ofBegun("cut", "origin_unreachable")],
    ["a stalled answer", "cut (stall)", ofBegun("stall", "forwarded")],
    ["a stalled answer", "cut (stall)", ofBegun("stall", "origin_invalid")],
    ["a whole answer", "whole (whole)", request(1, {}, {}, { outcome: "origin_timeout" })],
    ["a whole answer", "whole (whole)", request(1, {}, {}, { outcome: "origin_invalid" })],
    [
      "a client that left",
      "left (closed)",
      request(1, left, { end: "closed" }, { outcome: "origin_timeout" }),
    ],
    ["a client that left", "left (cut)", ofBegun("cut", "origin_timeout", left)],
    ["a client that left", "left (hang)", ofBegun("hang", "origin_unreachable", left)],
    ["no body", "left (closed)", request(1, left, { end: "closed" }, { outcome: "request_malformed" })],
  ] as const)("an event says another end than there was: of %s, %s", (_, ended, each) => {
    const what = `an event says ${each.event?.outcome} of an answer that was ${ended}`;
    expect(findings([each])).toContainEqual([what, "id-1"]);
  });

  it.each([
    [ofBegun("cut", "origin_invalid")],
    [ofBegun("stall", "origin_timeout")],
    [request(1, { end: "cut", intact: false }, { end: "down" }, { outcome: "origin_invalid" })],
    [ofBegun("reset", "origin_unreachable", left)],
    [ofBegun("hang", "origin_timeout", left)],
    [request(1, left, { end: "closed" })],
    [request(1, inBody, { end: "closed", body: "broken" }, { outcome: "request_malformed" })],
  ])("an event says the end that there was: %#", (each) => {
    expect(findings([each])).toEqual([]);
  });

  const ended = { sentAtMs: REVOKED_FROM + 1, doneAtMs: REVOKED_FROM + 2 };
  const unknown = { secret: null, refusedFor: ["key_unknown"] } as const;
  const mayBeUnknown = { refusedFor: ["key_unknown"] } as const;

  it.each([
    ["key_revoked", ended, { tenant: "other" }],
    ["key_revoked", ended, { keyId: "other" }],
    ["key_revoked", ended, { tenant: "", keyId: "" }],
    ["key_unknown", unknown, { tenant: "acme" }],
    ["key_unknown", unknown, { keyId: "key" }],
    ["key_unknown", mayBeUnknown, { tenant: "other", keyId: "" }],
    ["key_unknown", mayBeUnknown, { keyId: "other" }],
    ["rate_limited", {}, { tenant: "", keyId: "" }],
  ] as const)("a refusal's event names who sent it: %s, %#", (reason, sent, event) => {
    const each = refusal(1, reason, 401, sent);
    const what = "a refusal's event names another key than was sent";
    expect(findings([each]).map(([found]) => found)).not.toContain(what);
    const wrong = { ...each, event: { ...each.event, ...event } as GatewayEvent };
    expect(findings([wrong])).toContainEqual([what, "id-1"]);
  });

  it("a refusal's event may name nobody, or the tenant alone, where the key was not found", () => {
    const each = refusal(1, "key_unknown", 401, mayBeUnknown);
    for (const owner of [{ tenant: "", keyId: "" }, { keyId: "" }])
      expect(findings([{ ...each, event: { ...each.event, ...owner } as GatewayEvent }])).toEqual([]);
  });

  it("what a kill has cut may have been all there before", () => {
    const cut = request(1, { end: "cut", intact: false, doneAtMs: START + 9_000 });
    expect(findings([cut], { gatewayDowns: killedAt(START + 8_000) })).toEqual([]);
    expect(findings([cut], { gatewayDowns: downAt(START + 8_000, "rollout") })).toContainEqual([
      "an event says forwarded of an answer that was cut (whole)",
      "id-1",
    ]);
  });

  it("events of nobody are of clients that left, and not more than those", () => {
    const left = refusal(3, "", 0, { end: "left", requestId: "" });
    const cases = [request(2), { ...without(left, "event"), event: refusal(1, "key_unknown", 401).event }];
    expect(findings(cases)).toEqual([]);
    const another = { ...request(5), event: refusal(6, "key_unknown", 401).event };
    expect(findings([...cases, another]).map(([found]) => found)).toContain(
      "2 events are of no request that is known, 1 at most may be",
    );
  });
});

describe("nothing passes that must not, nothing is refused that must not be", () => {
  it.each([
    [
      "a secret that had ended (key_revoked) was seen at the origin",
      request(1, { sentAtMs: REVOKED_FROM, doneAtMs: REVOKED_FROM + 5 }),
    ],
    ["what had to be refused (key_unknown) reached the origin", request(1, { refusedFor: ["key_unknown"] })],
    ["refused without need: key_revoked, reads", refusal(1, "key_revoked", 401)],
    ["refused without need: flood, reads", refusal(1, "flood", 429)],
    ["refused without need: origin_unreachable, reads", refusal(1, "origin_unreachable", 502)],
    ...(["slow", "error", "early", "hang", "stall", null] as const).map(
      (fault) =>
        [
          "refused without need: origin_unreachable, reads",
          request(1, { reason: "origin_unreachable", status: 502 }, { fault }),
        ] as const,
    ),
    ...(["slow", "error", "early", "hang", "stall", "reset", null] as const).map(
      (fault) =>
        [
          "refused without need: origin_invalid, reads",
          request(1, { reason: "origin_invalid", status: 502 }, { fault }),
        ] as const,
    ),
    ["refused without need: origin_invalid, reads", refusal(1, "origin_invalid", 502)],
    ...(["slow", "hang", "reset", "error", "early"] as const).map(
      (fault) =>
        [
          "an answer broke off that the origin had given",
          request(1, { end: "cut", intact: false }, { fault }),
        ] as const,
    ),
    [
      "refused without need: origin_timeout, reads",
      request(1, { reason: "origin_timeout", status: 504 }, { fault: "slow" }),
    ],
    ["an answer came from nowhere", without(request(1), "seen")],
    ["an answer is not the one that the origin gave", request(1, { intact: false })],
    ["an answer broke off that the origin had given", request(1, { end: "cut" })],
    ["200 was not what the origin said", request(1, {}, { fault: "error" })],
    ["no answer (broken), and the gateway was there: reads", request(1, { end: "broken", status: 0 })],
    ["a client waited in vain", request(1, { end: "hung", status: 0 })],
  ] as const)("%s", (what, each) => {
    expect(findings([each])).toContainEqual([what, "id-1"]);
  });

  it("what comes late passes without the tenant's object, where the event says so, and until it may", () => {
    const what = "a secret that had ended (key_revoked) was seen at the origin";
    const degradedUntilMs = REVOKED_FROM + 60_000;
    const at = (atMs: number, degraded: boolean, until = degradedUntilMs) =>
      request(
        1,
        { sentAtMs: atMs - 1, doneAtMs: atMs + 5, secret: { ...secret, degradedUntilMs: until } },
        {},
        { degraded },
      );
    expect(findings([at(degradedUntilMs, true)])).toEqual([]);
    expect(findings([at(degradedUntilMs + 1, true)])).toEqual([[what, "id-1"]]);
    expect(findings([at(degradedUntilMs, false)])).toEqual([[what, "id-1"]]);
    expect(findings([at(REVOKED_FROM + 1, true, 0)])).toEqual([[what, "id-1"]]);
  });

  it("what has expired of itself is let pass for as long as it may be on its way", () => {
    const expiring: Secret = {
      ...secret,
      phases: [
        { fromMs: 0, is: "good", reasons: [] },
        { fromMs: START, is: "ended", reasons: ["key_expired"] },
      ],
    };
    const seenAt = (atMs: number) =>
      findings([request(1, { secret: expiring, sentAtMs: atMs - 1, doneAtMs: atMs + 5 })]);
    expect(seenAt(START + 1_000)).toEqual([]);
    const what = "a secret that had ended (key_expired) was seen at the origin";
    expect(seenAt(START + 1_001)).toEqual([[what, "id-1"]]);
  });

  it("what a part of the gateway's own took too long for is let pass, but not often", () => {
    const slow = (id: number, tookMs: number) =>
      refusal(id, "authority_unavailable", 503, { doneAtMs: START + id + tookMs });
    expect(findings([slow(1, 1_200)])).toEqual([]);
    expect(findings([slow(1, 900)])).toEqual([
      ["refused without need: authority_unavailable, reads", "id-1"],
    ]);
    expect(findings([slow(1, 1_200), slow(2, 1_200)])).toHaveLength(1);
  });

  it.each(["cut", "broken", "hung", "under way"] as const)("a refusal has to come whole: %s", (end) => {
    const ended = { sentAtMs: REVOKED_FROM + 1, doneAtMs: REVOKED_FROM + 9 };
    const of = (how: Sent["end"]) => refusal(1, "key_revoked", 401, { ...ended, end: how });
    const found = [[`a refusal did not come whole (${end})`, "id-1"]];
    expect(findings([of(end)])).toEqual(found);
    expect(findings([of(end)], { gatewayDowns: downAt(REVOKED_FROM + 5, "rollout") })).toEqual(found);
    const isExcused = end === "cut" || end === "broken";
    expect(findings([of(end)], { gatewayDowns: killedAt(REVOKED_FROM + 5) })).toEqual(isExcused ? [] : found);
    expect(findings([of("left")])).toEqual([]);
  });

  it("may pass until it is said to have ended, and be refused from when that was asked for", () => {
    const between = { sentAtMs: REVOKED_FROM - 1_000, doneAtMs: REVOKED_FROM - 990 };
    expect(findings([request(1, between), refusal(2, "key_revoked", 401, between)])).toEqual([]);
  });
});

describe("limits", () => {
  const three = [request(1), request(2), request(3)];
  const refused = (sentAtMs: number) => refusal(9, "rate_limited", 429, { sentAtMs, doneAtMs: sentAtMs + 1 });

  it("one too many in any window is found, with all that are in it", () => {
    expect(
      findings([...three, request(4, { sentAtMs: START + 59_000, secret: { ...secret, phases: [] } })]),
    ).toEqual([["api of acme/key: 4 of 3 in one window", "id-1", "id-2", "id-3", "id-4"]]);
    const free = { ...secret, phases: [] };
    expect(findings([...three, request(4, { sentAtMs: START + 60_002, secret: free })])).toEqual([]);
  });

  it("a refusal without need is found", () => {
    expect(findings([...three, refused(START + 20)])).toEqual([]);
    expect(findings([request(1), request(2), refused(START + 20)])).toEqual([
      ["api of acme/key: refused with 2 of 3 used, and 0 held", "id-9"],
    ]);
    expect(findings([...three, refused(START + 104_000)])).toHaveLength(1);
  });

  it("a dead isolate may have held an eighth of it, for a while", () => {
    const limits = [{ ...limit, limit: 16 }];
    const some = Array.from({ length: 14 }, (_, i) => request(10 + i));
    const gatewayDowns = killedAt(START + 5_000);
    expect(findings([...some, refused(START + 9_000)], { limits, gatewayDowns })).toEqual([]);
    expect(findings([...some.slice(1), refused(START + 9_000)], { limits, gatewayDowns })).toHaveLength(1);
  });

  it("what the gateway says it has counted is compared", () => {
    const usage = (remaining: number) => [{ limit, atMs: START + 100, remaining, outstanding: 0 }];
    expect(findings(three, { usages: usage(0) })).toEqual([]);
    expect(findings(three, { usages: usage(1) })).toHaveLength(1);
    expect(findings(three.slice(1), { usages: usage(0) })).toHaveLength(1);
  });

  it("finds the fullest window", () => {
    expect(fullestWindow([], 10)).toEqual({ count: 0, from: 0 });
    expect(fullestWindow([0, 5, 10, 14, 30], 10)).toEqual({ count: 3, from: 1 });
  });
});

describe("nothing grows", () => {
  const MIB = 2 ** 20;
  const still = { residentBytes: 100 * MIB, handles: 100, sockets: 100, connections: 100 };
  const pid = 1;
  const outcomeOf = (later: Partial<Sample>, rest: Partial<Outcome["rest"]> = {}) => ({
    reconciled: reconcile(ledgerOf([])),
    samples: [
      { ...still, pid, atMs: 0 },
      { ...still, pid, atMs: 12_000 },
      { ...still, pid, atMs: 13_000, ...later },
    ],
    rest: { before: { ...still, pid, atMs: 0 }, after: { ...still, pid, atMs: 14_000 }, ...rest },
  });

  it.each([
    ["residentBytes", 194 * MIB, MIB, "memory (RSS, MiB) grew from 100 to 195"],
    ["handles", 250, 1, "file handles grew from 100 to 251"],
    ["sockets", 250, 1, "sockets grew from 100 to 251"],
    ["connections", 170, 1, "connections to the origin grew from 100 to 171"],
  ] as const)("%s", (figure, most, more, what) => {
    expect(faultsOf(outcomeOf({ [figure]: most }))).toEqual([]);
    expect(faultsOf(outcomeOf({ [figure]: most + more }))).toEqual([what]);
  });

  it("no socket is left open when all is over", () => {
    const at = (sockets: number) => ({ after: { ...still, pid, atMs: 0, sockets } });
    expect(faultsOf(outcomeOf({}, at(104)))).toEqual([]);
    expect(faultsOf(outcomeOf({}, at(105)))).toEqual(["105 sockets were open at rest, 100 before"]);
    expect(faultsOf(outcomeOf({}, { after: null }))).toEqual(["there was no gateway at rest"]);
    expect(faultsOf(outcomeOf({}, { before: null }))).toEqual(["there was no gateway at rest"]);
  });

  it("what the oracle has found is told, with the first of its requests", () => {
    const reconciled = reconcile(
      ledgerOf(Array.from({ length: 12 }, (_, i) => without(request(i), "event"))),
    );
    expect(faultsOf({ ...outcomeOf({}), reconciled })[0]).toMatch(
      /^a request has no event: 24 times: id-0, .* and 14 more$/,
    );
  });
});

describe("ends, starts, and the operator", () => {
  const down = (by: GatewayDown["by"], tookMs: number) =>
    findings([], { gatewayDowns: [{ fromMs: START, untilMs: START + tookMs, by }] });
  const stopped = (exitCode: number | null, tookMs: number) =>
    findings([], { stops: [{ exitCode, tookMs }] });

  it("there is a gateway again in time", () => {
    expect(down("kill", 120_000)).toEqual([]);
    expect(down("kill", 120_001)).toEqual([["there was no gateway for 120001 ms, by kill"]]);
    expect(down("rollout", 150_000)).toEqual([]);
    expect(down("rollout", 150_001)).toEqual([["there was no gateway for 150001 ms, by rollout"]]);
  });

  it("SIGTERM ends it with 0, and before what is under way is killed", () => {
    expect(stopped(0, 29_999)).toEqual([]);
    expect(stopped(0, 30_000)).toEqual([
      ["SIGTERM took 30000 ms: what was under way did not come to its end"],
    ]);
    expect(stopped(1, 10)).toEqual([["SIGTERM ended with 1, not with exit code 0"]]);
    expect(stopped(null, 10)).toEqual([["SIGTERM ended with a signal, not with exit code 0"]]);
  });

  const ask = (status: number, tookMs = 10): Asked => ({
    what: "POST /keys",
    status,
    sentAtMs: START,
    doneAtMs: START + tookMs,
  });

  it("the operator is answered, and not refused", () => {
    expect(findings([], { asked: [ask(200), ask(201), ask(204)] })).toEqual([]);
    for (const status of [400, 401, 404, 409, 429, 500, 503]) {
      const found = [[`the operator was answered ${status}`, "POST /keys"]];
      expect(findings([], { asked: [ask(status)] })).toEqual(found);
      expect(findings([], { asked: [ask(status)], gatewayDowns: killedAt(START + 5) })).toEqual(found);
    }
    expect(findings([], { asked: [ask(500, 1_200)] })).toHaveLength(1);
  });

  it("the operator may find no gateway where there is none", () => {
    expect(findings([], { asked: [ask(0)] })).toEqual([["the operator was answered nothing", "POST /keys"]]);
    expect(findings([], { asked: [ask(0)], gatewayDowns: downAt(START + 5, "rollout") })).toEqual([]);
    expect(findings([], { asked: [ask(0)], gatewayDowns: killedAt(START + 11) })).toHaveLength(1);
  });

  it("what a part took too long for is let pass to the operator, too, but not often", () => {
    const slow = ask(503, 1_200);
    expect(findings([], { asked: [slow] })).toEqual([]);
    expect(findings([], { asked: [slow, slow] })).toHaveLength(1);
    expect(findings([], { asked: [slow, slow, ...Array.from({ length: 98 }, () => ask(200))] })).toEqual([]);
  });
});

it("the two halves of the last life are its own, and warm", () => {
  const sample = (atMs: number, pid: number, handles: number) => ({ atMs, pid, handles }) as Sample;
  const samples = [sample(0, 1, 99), sample(1_000, 2, 50), sample(12_000, 2, 7), sample(13_000, 2, 8)];
  expect(halves(samples, "handles")).toEqual([7, 8]);
});

it("chance is the same again with the same seed, and another one for each part", () => {
  const draw = (random: Random) => Array.from({ length: 5 }, () => random.next());
  expect(draw(new Random(1))).toEqual(draw(new Random(1)));
  expect(draw(new Random(1).fork(0))).not.toEqual(draw(new Random(1).fork(1)));
});
