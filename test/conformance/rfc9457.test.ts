/** RFC 9457, problem details: of refusals, for whoever asks, and of the gateway's own API. */
import { describe, expect, it } from "vitest";
import { denialResponse, wantsProblem } from "../../src/answer/denial-response.ts";
import { DENIAL_SPECS } from "../../src/denial.ts";
import { PROBLEMS, type ProblemCode, problemResponse } from "../../src/own/problem.ts";
import { context, DETAIL, denialFor, REASONS, REQUEST_ID, shownAs } from "../support/refusals.ts";

const INSTANCE = /^urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** §3.2: three or more letters, digits and underscores, a letter first. */
const EXTENSION = /^[A-Za-z][A-Za-z0-9_]{2,}$/;

async function problemIn(response: Response): Promise<Record<string, unknown>> {
  expect(response.headers.get("Content-Type")).toBe("application/problem+json");
  return (await response.json()) as Record<string, unknown>;
}

describe("RFC 9457 §3, the problem of", () => {
  it.each(REASONS)("%s has its members, and no others", async (reason, { status, body }) => {
    const response = denialResponse(denialFor(reason), { ...context, asProblem: true });
    const text = await response.clone().text();
    expect(response.status).toBe(status);
    expect(response.headers.get("Content-Length")).toBe(String(Buffer.byteLength(text)));
    const { msg, message } = JSON.parse(body) as { msg?: string; message?: string };
    const problem = await problemIn(response);
    expect(Object.keys(problem)).toEqual(["type", "title", "status", "detail", "instance", "code", "msg"]);
    expect(problem).toEqual({
      type: `https://gateway.test/_gateway/errors/${shownAs(reason)}`,
      title: DENIAL_SPECS[shownAs(reason)].message,
      status,
      detail: DETAIL,
      instance: `urn:uuid:${REQUEST_ID}`,
      code: shownAs(reason),
      msg: msg ?? message,
    });
  });

  it.each(Object.keys(PROBLEMS) as ProblemCode[])(
    "%s, of the gateway's own API, has them too",
    async (code) => {
      const more = { errors: [{ path: "name", message: "is missing" }] };
      const response = problemResponse(code, DETAIL, context, more);
      const { type, title, status, detail, instance, ...extensions } = await problemIn(response);
      expect([status, detail]).toEqual([response.status, DETAIL]);
      expect(URL.canParse(String(type))).toBe(true);
      expect(title).toBe(PROBLEMS[code].message);
      expect(instance).toMatch(INSTANCE);
      expect(Object.keys(extensions).filter((name) => !EXTENSION.test(name))).toEqual([]);
    },
  );
});

describe("RFC 9457 §3.1", () => {
  it("§3.1.1 a type is one problem's, and its own absolute URL", () => {
    const types = [...Object.keys(DENIAL_SPECS), ...Object.keys(PROBLEMS)];
    // config_invalid is said by both, with the same status.
    expect(new Set(types).size).toBe(types.length - 1);
    expect(PROBLEMS.config_invalid.status).toBe(DENIAL_SPECS.config_invalid.status);
  });

  it("§3.1.3 a title says the same of every occurrence", async () => {
    const asProblem = { ...context, asProblem: true };
    const [one, other] = ["one", "other"].map((detail) =>
      denialResponse({ reason: "path_ambiguous", detail }, asProblem),
    );
    if (one === undefined || other === undefined) throw new Error("no answers");
    const [first, second] = [await problemIn(one), await problemIn(other)];
    expect([first["title"], first["detail"]]).toEqual([second["title"], "one"]);
  });
});

describe("RFC 9457 §3, the media type is for who asks for it (RFC 9110 §12.5.1)", () => {
  it.each([
    ["application/problem+json"],
    ["application/json, application/problem+json"],
    ["application/problem+json;q=0.1, */*"],
    ["application/problem+json; charset=utf-8; q=1.000"],
    ["Application/Problem+JSON"],
    ["application/problem+json;q=0.001"],
  ])("Accept: %s does", (accept) => {
    expect(wantsProblem(new Headers({ Accept: accept }))).toBe(true);
  });

  it.each([
    ["*/*"],
    ["application/*"],
    ["application/json"],
    [""],
    ["application/problem+json;q=0"],
    ["application/problem+json; q=0.000"],
    ["application/problem+json; Q=0.0"],
    ["application/problem+xml"],
    ["application/problem+jsonx"],
    ["text/application/problem+json"],
  ])("Accept: %s does not", (accept) => {
    expect(wantsProblem(new Headers({ Accept: accept }))).toBe(false);
  });

  it("no Accept does not", () => {
    expect(wantsProblem(new Headers())).toBe(false);
  });
});
