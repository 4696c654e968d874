/** Where things are: locations on a sphere around a few regions, and how long a message takes between two of them. */
import { cumulate, type Random } from "./random.ts";

const EARTH_KM = 6_371;
/** Two thirds of the speed of light, as in glass. */
const KM_PER_MS = 200;
/** Switches and queues of one way, and what it takes within a location. */
const BASE_MS = 1;
/** The larger a location, the more of the traffic; this steep. */
const SKEW = 0.4;
const REGION_SPREAD_DEGREES = 9;
const REGIONS: readonly (readonly [number, number])[] = [
  [40, -75],
  [37, -120],
  [-23, -46],
  [50, 8],
  [55, 37],
  [25, 55],
  [20, 78],
  [1, 104],
  [35, 138],
  [-33, 151],
  [-28, 28],
];

export interface Location {
  readonly index: number;
  /** Degrees. */
  readonly latitude: number;
  readonly longitude: number;
  /** Share of all traffic. */
  readonly weight: number;
  /** Isolates that serve there at a time. */
  readonly isolates: number;
}

export class Geography {
  readonly locations: readonly Location[];
  readonly #cumulated: readonly number[];
  readonly #oneWayMs: Float64Array;

  constructor(random: Random, count: number, maxIsolates: number) {
    const sizes = Array.from({ length: count }, (_, i) => (i + 1) ** -SKEW);
    const sum = sizes.reduce((a, b) => a + b, 0);
    this.locations = sizes.map((size, index) => {
      const [latitude, longitude] = REGIONS[random.below(REGIONS.length)] ?? [0, 0];
      const spread = () => (random.next() + random.next() - 1) * 2 * REGION_SPREAD_DEGREES;
      return {
        index,
        latitude: latitude + spread(),
        longitude: longitude + spread(),
        weight: size / sum,
        isolates: Math.max(1, Math.round(maxIsolates * size)),
      };
    });
    this.#cumulated = cumulate(this.locations.map(({ weight }) => weight));
    this.#oneWayMs = new Float64Array(count * count);
    for (const a of this.locations)
      for (const b of this.locations)
        this.#oneWayMs[a.index * count + b.index] = BASE_MS + distanceKm(a, b) / KM_PER_MS;
  }

  get isolates(): number {
    return this.locations.reduce((sum, { isolates }) => sum + isolates, 0);
  }

  /** Milliseconds, without jitter. */
  oneWayMs(from: number, to: number): number {
    return this.#oneWayMs[from * this.locations.length + to] ?? 0;
  }

  /** One of the locations, by their traffic. */
  somewhere(random: Random): number {
    return random.weighted(this.#cumulated);
  }
}

/** Along the great circle. */
function distanceKm(
  a: Pick<Location, "latitude" | "longitude">,
  b: Pick<Location, "latitude" | "longitude">,
): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const half = (from: number, to: number) => Math.sin(radians(to - from) / 2) ** 2;
  const across = Math.cos(radians(a.latitude)) * Math.cos(radians(b.latitude));
  const chord = half(a.latitude, b.latitude) + across * half(a.longitude, b.longitude);
  return 2 * EARTH_KM * Math.asin(Math.min(1, Math.sqrt(chord)));
}
