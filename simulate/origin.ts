/** The Postiz behind the gateway: in one place, answers after a while, says yes to every credential it made, and can be down. */
import type { Network } from "./network.ts";
import type { Random } from "./random.ts";

const ANSWER_MS = 40;

export class OriginModel {
  isDown = false;
  readonly #network: Network;
  readonly #random: Random;
  readonly #location: number;
  readonly #onProbe: (secret: string) => void;
  readonly #known: ReadonlySet<string>;

  /** `known`: credentials that it says yes to. */
  constructor(
    network: Network,
    random: Random,
    location: number,
    known: ReadonlySet<string>,
    onProbe: (secret: string) => void,
  ) {
    this.#network = network;
    this.#random = random;
    this.#location = location;
    this.#known = known;
    this.#onProbe = onProbe;
  }

  /** Until the head of an answer, seen from there. */
  answerMs(from: number): number {
    const ways = this.#network.wayMs(from, this.#location) + this.#network.wayMs(this.#location, from);
    return ways + this.#random.exponential(ANSWER_MS);
  }

  /** The service binding, as a Worker in that location has it: only the gateway's own questions are asked through it. */
  from(location: number): Fetcher {
    const fetch = async (_: string, { headers }: { headers: Headers }) => {
      const secret = headers.get("Authorization") ?? "";
      this.#onProbe(secret);
      await this.#network.time.sleep(this.answerMs(location));
      this.#network.time.stirDeeply();
      if (this.isDown) throw new Error("the connection was refused");
      if (this.#known.has(secret)) return Response.json({ connected: true });
      const what = secret.startsWith("pos_") ? "OAuth token" : "API key";
      return Response.json({ msg: `Invalid ${what}` }, { status: 401 });
    };
    return { fetch } as unknown as Fetcher;
  }
}
