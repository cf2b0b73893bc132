/** Lists, from page to page. */

import type { Page } from "./answers.js";
import type { Listing } from "./requests.js";

/** The items of all pages, from `options.cursor` on. */
export async function* walk<Each extends Page, Item, Options extends Listing>(
  options: Options,
  read: (options: Options) => Promise<Each>,
  items: (page: Each) => Item[],
): AsyncGenerator<Item, void, undefined> {
  let cursor = options.cursor;
  for (;;) {
    const page = await read(cursor === undefined ? options : { ...options, cursor });
    yield* items(page);
    if (page.next_cursor === null) return;
    cursor = page.next_cursor;
  }
}
