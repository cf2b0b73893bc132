// Polls while the page is visible, one request at a time.

// Calls `ask` now and then every `every` milliseconds. Returns a function that polls at once.
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

// Reads data and shows it if it is new, or shows why it cannot be read.
export async function shown(note, read, show) {
  try {
    const found = await read();
    const sign = JSON.stringify(found);
    // Unchanged content is not redrawn: it may be selected, or being read aloud.
    if (lastShown.get(note) !== sign) show(found);
    lastShown.set(note, sign);
    note.textContent = "";
    // Shown content is marked as old while nothing newer can be read.
    note.parentElement.classList.remove("stale");
  } catch (error) {
    note.parentElement.classList.add("stale");
    note.textContent = error.status === 404 ? "Not available on this server." : `Cannot be read: ${error.message}`;
  }
}
