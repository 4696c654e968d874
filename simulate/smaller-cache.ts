/** The gateway's cache, with room for fewer entries: it takes its memory when it is made, whether it is filled or not. */
import { LRUCache as Cache } from "lru-cache";

const MAX = 500;

export class LRUCache<K extends object | string, V extends object> extends Cache<K, V> {
  constructor(options: ConstructorParameters<typeof Cache<K, V>>[0]) {
    const { max = MAX } = options as { max?: number };
    super({ ...options, max: Math.min(MAX, max) } as ConstructorParameters<typeof Cache<K, V>>[0]);
  }
}
