// The bar over a conversation: its title, and the actions on the thread.

import { call, path } from "../shared/api.js";
import { arrange, byId, iconButton } from "../shared/dom.js";
import { confirmed, lineFor } from "../shared/dialogs.js";
import { titleOf } from "./thread-list.js";
import { attempted } from "../shared/toast.js";
import { plural } from "../shared/words.js";

export class ThreadBar {
  #thread = null;
  #changed;
  #deleted;
  #deleting = null;

  // `changed` is called with the changed thread, `deleted` when it is deleted.
  constructor({ changed, deleted }) {
    this.#changed = changed;
    this.#deleted = deleted;
  }

  // Whether it is being deleted on this page, not elsewhere.
  isDeleting(threadId) {
    return this.#deleting === threadId;
  }

  show(thread) {
    const before = this.#thread;
    this.#thread = thread;
    byId("thread-name").textContent = titleOf(thread);
    byId("thread-facts").textContent =
      plural(thread.message_count, "message") + (thread.is_archived ? " · archived" : "");
    const sameMarks =
      before?.id === thread.id && before.is_pinned === thread.is_pinned && before.is_archived === thread.is_archived;
    // A button that was just pressed keeps the focus.
    if (!sameMarks) this.#showTools(thread);
  }

  #showTools(thread) {
    const had = document.activeElement?.dataset.tool;
    const tool = (name, sign, label, act, properties = {}) =>
      iconButton(sign, label, act, { "data-tool": name, ...properties });
    arrange(byId("thread-tools"), [
      tool("rename", "edit", "Rename the thread", () => this.#rename()),
      tool("pin", "pin", "Pin the thread", () => this.#patch({ is_pinned: !this.#thread.is_pinned }), {
        "aria-pressed": String(thread.is_pinned),
      }),
      tool("archive", "archive", "Archive the thread", () => this.#patch({ is_archived: !this.#thread.is_archived }), {
        "aria-pressed": String(thread.is_archived),
      }),
      tool("delete", "trash", "Delete the thread", () => this.#delete()),
    ]);
    if (had) byId("thread-tools").querySelector(`[data-tool="${had}"]`)?.focus();
  }

  async #rename() {
    const value = this.#thread.title ?? "";
    const title = await lineFor({ title: "Rename the thread", label: "Title", value, action: "Rename" });
    if (title !== null && title !== value) await this.#patch({ title: title || null });
  }

  #patch(change) {
    const { id } = this.#thread;
    return attempted("The thread was not changed", async () => {
      const thread = await call("PATCH", path`/api/threads/${id}`, change);
      if (this.#thread.id === id) this.show(thread);
      this.#changed(thread);
    });
  }

  async #delete() {
    const { id } = this.#thread;
    const agreed = await confirmed({
      title: `Delete “${titleOf(this.#thread)}”?`,
      text: "Every message in it leaves every tier. This cannot be undone.",
      action: "Delete the thread",
    });
    if (!agreed) return;
    this.#deleting = id;
    const done = await attempted("The thread was not deleted", () => call("DELETE", path`/api/threads/${id}`));
    this.#deleting = null;
    if (done) this.#deleted(id);
  }
}
