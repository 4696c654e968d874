/** Puts a value under a key and lets the oldest go, so that a long demo cannot fill the memory. */
export function setBounded<V>(map: Map<string, V>, key: string, value: V, maxEntries: number): void {
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > maxEntries && !oldest.done) map.delete(oldest.value);
}
