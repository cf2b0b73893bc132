// Shows the state of the connection: in words, with a mark, in a banner during a longer interruption,
// and to screen readers once for each change.

import { byId } from "./dom.js";

const WORDS = { connecting: "Connecting", live: "Live", waiting: "Reconnecting", off: "Not live" };
// A short interruption needs no banner.
const PATIENCE_MS = 2_500;
const CUT =
  "The connection is lost. Your messages are kept and sent; those of others appear when it is back.";
const OFFLINE = "You are offline. Your messages are kept, and sent when you are back.";

export function showConnection(socket) {
  const [place, words, banner] = [byId("connection"), byId("connection-words"), byId("banner")];
  let said = "";
  let cutAt = null;
  const show = () => {
    place.hidden = false;
    place.dataset.state = socket.state;
    const seconds = Math.max(0, Math.ceil((socket.until - Date.now()) / 1000));
    // Without a network there is no countdown.
    const away = navigator.onLine ? `Reconnecting in ${seconds} s` : "Offline";
    words.textContent = socket.state === "waiting" ? away : WORDS[socket.state];
    cutAt = ["live", "off"].includes(socket.state) ? null : (cutAt ?? Date.now());
    const isLong = cutAt !== null && Date.now() - cutAt > PATIENCE_MS;
    banner.hidden = !isLong && navigator.onLine;
    const text = navigator.onLine ? CUT : OFFLINE;
    if (banner.textContent !== text) banner.textContent = text;
    tell();
  };
  // The first connection is not announced, nor are short interruptions.
  const tell = () => {
    const settled = socket.state === "connecting" ? said : navigator.onLine ? WORDS[socket.state] : "Offline";
    if (settled === said) return;
    if (said || settled !== WORDS.live) byId("connection-said").textContent = `Connection: ${settled}`;
    said = settled;
  };
  socket.on("state", show);
  addEventListener("online", show);
  addEventListener("offline", show);
  setInterval(() => ["live", "off"].includes(socket.state) || show(), 500);
  show();
}
