// Says how the connection is: in words, with a mark, and to screen readers once for each change.

import { byId } from "./dom.js";

const WORDS = { connecting: "Connecting", live: "Live", waiting: "Reconnecting", off: "Not live" };

export function showConnection(socket) {
  const [place, words, spoken] = [byId("connection"), byId("connection-words"), byId("connection-said")];
  let said = "";
  const show = () => {
    place.hidden = false;
    place.dataset.state = socket.state;
    const seconds = Math.max(0, Math.ceil((socket.until - Date.now()) / 1000));
    words.textContent = socket.state === "waiting" ? `Reconnecting in ${seconds} s` : WORDS[socket.state];
    // A first connection is no news, and what flickers is none either.
    const settled = socket.state === "connecting" ? said : WORDS[socket.state];
    if (settled !== said) {
      if (said || socket.state !== "live") spoken.textContent = `Connection: ${settled}`;
      said = settled;
    }
  };
  socket.on("state", show);
  setInterval(() => socket.state === "waiting" && show(), 500);
  show();
}
