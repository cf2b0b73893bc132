/** A storage that ends with the page. */

/** The part of `Storage` that a queue needs. */
export type QueueStorage = Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">;

export class MemoryStorage implements QueueStorage {
  readonly #entries = new Map<string, string>();

  get length(): number {
    return this.#entries.size;
  }

  key(place: number): string | null {
    return [...this.#entries.keys()][place] ?? null;
  }

  getItem(name: string): string | null {
    return this.#entries.get(name) ?? null;
  }

  setItem(name: string, value: string): void {
    this.#entries.set(name, value);
  }

  removeItem(name: string): void {
    this.#entries.delete(name);
  }
}
