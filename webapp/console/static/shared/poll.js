// Asks again and again while the page can be seen, one question at a time.

// Calls `ask` now and then every `every` milliseconds. Gives a function that asks at once.
export function poll(every, ask) {
  let timer = null;
  let asking = null;
  const turn = () => {
    clearTimeout(timer);
    asking ??= (document.hidden ? Promise.resolve() : ask()).finally(() => {
      asking = null;
      timer = setTimeout(turn, every);
    });
    return asking;
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}

const lastShown = new WeakMap();

// Reads something and shows it where it is new, or says honestly why it cannot be shown.
export async function shown(note, read, show) {
  try {
    const found = await read();
    const sign = JSON.stringify(found);
    // What stays is left alone: it may be selected, or just be read aloud.
    if (lastShown.get(note) !== sign) show(found);
    lastShown.set(note, sign);
    note.textContent = "";
    // What was shown before is marked as old while nothing newer can be read.
    note.parentElement.classList.remove("stale");
  } catch (error) {
    note.parentElement.classList.add("stale");
    note.textContent = error.status === 404 ? "Not available on this server." : `Cannot be read: ${error.message}`;
  }
}
