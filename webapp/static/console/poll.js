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

// Reads something and shows it, or says honestly why it cannot be shown.
export async function shown(note, read, show) {
  try {
    show(await read());
    note.textContent = "";
    // What was shown before is marked as old while nothing newer can be read.
    note.parentElement.classList.remove("stale");
  } catch (error) {
    note.parentElement.classList.add("stale");
    note.textContent = error.status === 404 ? "Not available on this server." : `Cannot be read: ${error.message}`;
  }
}
