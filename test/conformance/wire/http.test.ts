/** What the documents on HTTP say about messages on the wire, each in a file of its own, on one gateway. */
import { afterAll, beforeAll, beforeEach } from "vitest";
import { rfc9112 } from "./rfc9112.ts";
import { TheStage } from "./stage.ts";

const stage = new TheStage();

beforeAll(() => stage.open());
beforeEach(() => stage.reset());
afterAll(() => stage.close());

rfc9112(stage);
