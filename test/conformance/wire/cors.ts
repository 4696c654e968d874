/** CORS (Fetch standard §3.2) where it shows on the wire; the comparison of origins is in `../cors.test.ts`. */
import { describe, expect, it } from "vitest";
import type { Sent } from "../../support/http.ts";
import { PATH, type Stage } from "./stage.ts";

const ORIGIN = "https://app.example";
const EXPOSED = [
  "RateLimit",
  "RateLimit-Policy",
  "X-RateLimit-Limit",
  "X-RateLimit-Remaining",
  "X-RateLimit-Reset",
  "Retry-After",
  "X-Request-Id",
  "WWW-Authenticate",
];

export function cors(stage: Stage): void {
  describe("CORS, Fetch §3.2.5: refusals can be read by a listed origin's scripts, and by no other's", () => {
    it.each<[string, number, Sent]>([
      ["no credential", 401, { path: PATH }],
      ["an unknown key", 401, { path: PATH, authorization: "0".repeat(64) }],
      ["an ambiguous path", 400, { path: "/public/v1/%2e%2e" }],
      ["an unknown path", 404, { path: "/nothing" }],
      ["TRACE", 405, { path: PATH, method: "TRACE" }],
      ["two readings of the framing", 400, { path: PATH, body: "x" }],
      ["the gateway's own page", 200, { path: "/_gateway/health" }],
    ])("%s", async (_, status, sent) => {
      const asked = (origin: string) => stage.gateway.send({ ...sent, headers: [["Origin", origin]] });
      const [listed, other] = [await asked(ORIGIN), await asked("https://evil.example")];
      expect([listed.status, other.status]).toEqual([status, status]);
      expect(listed.headers.get("Access-Control-Allow-Origin")).toBe(ORIGIN);
      expect(listed.headers.get("Access-Control-Expose-Headers")?.split(", ")).toEqual(EXPOSED);
      expect(other.headers.get("Access-Control-Allow-Origin")).toBeNull();
      for (const { headers } of [listed, other]) {
        expect(headers.get("Access-Control-Allow-Credentials")).toBeNull();
        expect(headers.get("Vary")).toBe("Origin");
      }
    });

    it.each([
      ["*", ""],
      ["*", "true"],
      [ORIGIN, "true"],
      ["https://evil.example", "true"],
    ])("the origin's own word, %s with credentials %j, counts for nothing", async (allowed, credentials) => {
      const fields = [
        `Access-Control-Allow-Origin: ${allowed}`,
        "Access-Control-Expose-Headers: X-Secret",
        "Vary: Accept, X-Origin",
      ];
      if (credentials !== "") fields.push(`Access-Control-Allow-Credentials: ${credentials}`);
      stage.answers(
        ["HTTP/1.1 200 OK", "Connection: close", "Content-Length: 2", ...fields, "", "ok"].join("\r\n"),
      );
      for (const origin of [ORIGIN, "https://evil.example"]) {
        const { headers } = await stage.get([["Origin", origin]]);
        expect(headers.get("Access-Control-Allow-Origin")).toBe(origin === ORIGIN ? ORIGIN : null);
        expect(headers.get("Access-Control-Allow-Credentials")).toBeNull();
        expect(headers.get("Access-Control-Expose-Headers")).toBe(
          origin === ORIGIN ? EXPOSED.join(", ") : null,
        );
        expect(headers.get("Vary")).toBe("Accept, X-Origin, Origin");
      }
    });
  });
}
