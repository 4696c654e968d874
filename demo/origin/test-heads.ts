/**
 * Answers whose status or headers a gateway has to relay, replace or drop. What a Worker cannot send is not
 * here: the runtime drops `Connection` from its answers, so nominating a header takes a server of another kind.
 */
import { badRequest, json } from "./answers.ts";
import type { Handler } from "./routing.ts";

/** The Fetch standard's null body statuses, of those a Worker may send. */
const NULL_BODY = new Set([204, 205, 304]);

export const heads: Readonly<Record<string, Handler>> = {
  redirect: ({ query }) => new Response(null, { status: 302, headers: { Location: query.get("to") ?? "/" } }),

  // Two headers with commas inside their dates: joined into one they could not be told apart again.
  cookies: () => {
    const response = json(200, { cookies: 2 });
    for (const name of ["first", "second"]) {
      const cookie = `${name}=1; Path=/; Expires=Wed, 21 Oct 2037 07:28:00 GMT; HttpOnly`;
      response.headers.append("Set-Cookie", cookie);
    }
    return response;
  },

  // What Postiz answers when its own check fails, say without a database: it says nothing of the credential.
  "status/401-empty": () =>
    new Response(null, {
      status: 401,
      headers: { logout: "true", "Set-Cookie": "auth=; Max-Age=-1; Path=/" },
    }),

  "status/:code": ({ params }) => {
    const status = Number(params[0]);
    if (!Number.isInteger(status) || status < 200 || status > 599) return badRequest("200 to 599");
    if (NULL_BODY.has(status)) return new Response(null, { status, headers: { ETag: '"demo-status-1"' } });
    return json(status, { statusCode: status, message: `Status ${status}, as asked for` });
  },

  // None of these is the gateway's own.
  headers: () =>
    json(
      200,
      { headers: "rate limits of the origin's own" },
      {
        "X-RateLimit-Limit": "90",
        "X-RateLimit-Remaining": "89",
        "X-RateLimit-Reset": "3600",
        "RateLimit-Policy": '"origin";q=90;w=3600',
        RateLimit: '"origin";r=89;t=3600',
        "X-Request-Id": "the-origin-s-own",
      },
    ),

  echo: ({ request }) =>
    json(200, { method: request.method, url: request.url, headers: [...request.headers] }),

  // What a self-hosted Postiz answers where the /api prefix was forgotten.
  html: () =>
    new Response("<!doctype html><title>Postiz</title><h1>Sign In</h1>\n", {
      headers: { "Content-Type": "text/html; charset=utf-8" },
    }),
};
