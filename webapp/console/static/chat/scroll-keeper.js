// Keeps the scroll position of a list of messages that grows at both ends.

const NEAR_PX = 400;
const AT_END_PX = 60;

export class ScrollKeeper {
  #box;
  #button;
  // A reader at the end stays there, whatever grows or shrinks, until they scroll away.
  #isHeld = true;
  #top = 0;

  // `edge` is called when an end comes near, `newest` when the reader wants to go to the end.
  constructor(box, list, button, { edge, newest }) {
    this.#box = box;
    this.#button = button;
    box.addEventListener("scroll", () => this.#scrolled(edge), { passive: true });
    button.addEventListener("click", async () => {
      await newest();
      this.toEnd();
    });
    const sizes = new ResizeObserver(() => this.#isHeld && this.toEnd());
    sizes.observe(box);
    sizes.observe(list);
  }

  get #left() {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight;
  }

  get isNearTop() {
    return this.#box.scrollTop < NEAR_PX;
  }

  get isNearEnd() {
    return this.#left < NEAR_PX;
  }

  get isAtEnd() {
    return this.#left < AT_END_PX;
  }

  // Changes the list: a reader at its end stays there, and for others nothing moves. `isBehind`
  // means that there are newer messages, so its end is not the end of the thread.
  keeping(change, { toEnd = false, isNews = false, isBehind = false } = {}) {
    if (isBehind) this.#isHeld = false;
    const { scrollHeight: height, scrollTop: top } = this.#box;
    change();
    if (toEnd || this.#isHeld) this.toEnd();
    else if (isNews || isBehind) this.#box.scrollTop = top;
    else if (this.#box.scrollHeight !== height && top < NEAR_PX) {
      this.#box.scrollTop = top + this.#box.scrollHeight - height;
    }
    if (isNews && !this.isAtEnd) this.#button.hidden = false;
  }

  // Scrolls to one message, and keeps it in view.
  show(element) {
    this.#isHeld = false;
    element.scrollIntoView({ block: "center" });
  }

  #scrolled(edge) {
    const isUpwards = this.#box.scrollTop < this.#top;
    this.#top = this.#box.scrollTop;
    if (this.isAtEnd) {
      this.#isHeld = true;
      this.#button.hidden = true;
    } else if (isUpwards) this.#isHeld = false;
    if (this.isNearTop || this.isNearEnd) edge();
  }

  toEnd() {
    this.#isHeld = true;
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#button.hidden = true;
  }
}
