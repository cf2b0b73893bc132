// Where a list of messages is scrolled to, while it grows at both ends.

const NEAR_PX = 400;
const AT_END_PX = 60;

export class ScrollKeeper {
  #box;
  #button;

  // `edge` is called when an end comes near, `newest` when somebody wants to go to the end.
  constructor(box, button, edge, newest) {
    this.#box = box;
    this.#button = button;
    box.addEventListener(
      "scroll",
      () => {
        if (this.isAtEnd) button.hidden = true;
        if (this.isNearTop || this.isNearEnd) edge();
      },
      { passive: true },
    );
    button.addEventListener("click", async () => {
      await newest();
      this.#toEnd();
    });
    // A keyboard on a phone that comes up takes room, and must not take the newest message.
    let wasAtEnd = true;
    box.addEventListener("scroll", () => (wasAtEnd = this.isAtEnd), { passive: true });
    new ResizeObserver(() => wasAtEnd && this.#toEnd()).observe(box);
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

  // Changes the list: whoever was at its end stays there, and for others nothing moves.
  keeping(change, { toEnd = false, isNews = false, isBehind = false } = {}) {
    const wasAtEnd = this.isAtEnd && !isBehind;
    const fromEnd = this.#box.scrollHeight - this.#box.scrollTop;
    const [height, top] = [this.#box.scrollHeight, this.#box.scrollTop];
    change();
    if (toEnd || wasAtEnd) this.#toEnd();
    else if (isNews || isBehind) this.#box.scrollTop = top;
    else if (this.#box.scrollHeight !== height && top < NEAR_PX) this.#box.scrollTop = this.#box.scrollHeight - fromEnd;
    if (isNews && !this.isAtEnd) this.#button.hidden = false;
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#button.hidden = true;
  }
}
