/** Routes below `/public/v1/_test`, for what Postiz does rarely or an origin should never do. */

import { type Route, route } from "./routing.ts";
import { bodies } from "./test-bodies.ts";
import { broken } from "./test-broken.ts";
import { heads } from "./test-heads.ts";

export const testRoutes: readonly Route[] = Object.entries({ ...broken, ...bodies, ...heads }).map(
  ([path, handle]) => route("*", `/_test/${path}`, handle),
);
