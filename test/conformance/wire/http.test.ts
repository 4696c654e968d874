/** What the documents on HTTP say about messages on the wire, each in a file of its own, on one gateway. */
import { afterAll, beforeAll, beforeEach } from "vitest";
import { cors } from "./cors.ts";
import { rfc9110 } from "./rfc9110.ts";
import { rfc9111 } from "./rfc9111.ts";
import { rfc9112 } from "./rfc9112.ts";
import { TheStage } from "./stage.ts";
import { traceContext } from "./trace-context.ts";

const stage = new TheStage();

beforeAll(() => stage.open());
beforeEach(() => stage.reset());
afterAll(() => stage.close());

rfc9110(stage);
rfc9111(stage);
rfc9112(stage);
cors(stage);
traceContext(stage);
