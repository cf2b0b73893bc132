// Makes elements: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14M5 12h14",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3-1-6zM12 15v5",
  archive: "M4 5h16v4H4zM6 9v10h12V9M10 13h4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  edit: "M5 19l1-4L16 5l3 3L9 18l-4 1z",
  receipt: "M7 4h10v16l-2.5-2-2.5 2-2.5-2L7 20zM10 9h4M10 13h4",
  close: "M6 6l12 12M18 6L6 18",
  send: "M5 12h13M13 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M19 14A8 8 0 0110 5a8 8 0 109 9z",
  retry: "M19 12a7 7 0 11-2-5M19 4v4h-4",
};

// An element. Properties that are false, null or undefined are left out; `on` has listeners.
export function el(name, properties = {}, ...children) {
  return furnished(document.createElement(name), properties, children);
}

export function svg(name, properties = {}, ...children) {
  return furnished(document.createElementNS(SVG, name), properties, children);
}

// An icon hidden from screen readers: its button has the text.
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

export function iconButton(name, label, onClick, properties = {}) {
  const named = { type: "button", class: "quiet", "aria-label": label, title: label };
  return el("button", { ...named, on: { click: onClick }, ...properties }, icon(name));
}

// A button with text, which cannot be pressed again before its action is done.
export function actionButton(label, act, properties = {}) {
  const button = el("button", { type: "button", ...properties }, label);
  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    // With aria-disabled instead of disabled it keeps the focus.
    button.ariaDisabled = "true";
    try {
      await act();
    } finally {
      button.ariaDisabled = null;
    }
  });
  return button;
}

export const byId = (id) => document.getElementById(id);

// Gives a parent exactly these children, moving only those in a wrong position, so that the focus
// is kept.
export function arrange(parent, wanted) {
  const staying = new Set(wanted);
  const going = [...parent.childNodes].filter((child) => !staying.has(child));
  const focused = going.find((child) => child.contains(document.activeElement));
  const heir = focused && heirOf(focused, staying);
  for (const child of going) child.remove();
  let place = parent.firstChild;
  for (const child of wanted) {
    if (child === place) place = place.nextSibling;
    else parent.insertBefore(child, place);
  }
  if (focused && !parent.contains(document.activeElement)) (focusable(heir) ?? enclosing(parent))?.focus();
}

const FOCUSABLE = "button:not(:disabled), a[href], [tabindex]";
const focusable = (element) => (element?.matches(FOCUSABLE) ? element : element?.querySelector(FOCUSABLE));
// Where the focus goes when the last item of a list is removed: its heading, if focusable.
const enclosing = (parent) =>
  parent.closest("section")?.querySelector("h2[tabindex]") ?? parent.closest("[tabindex]") ?? byId("main");

// Which element gets the focus after a removed one: the next, else the previous.
function heirOf(going, staying) {
  const beside = (way) => {
    let other = going[way];
    while (other && !staying.has(other)) other = other[way];
    return other?.nodeType === Node.ELEMENT_NODE ? other : null;
  };
  return beside("nextSibling") ?? beside("previousSibling");
}

// Arrow keys, Home and End move through the items of a list; Tab leaves it. Tab enters it at the
// first item, or the last.
export function rove(list, selector, { fromEnd = false } = {}) {
  const items = () => [...list.querySelectorAll(selector)];
  const settle = (chosen) => {
    for (const item of items()) item.tabIndex = item === chosen ? 0 : -1;
  };
  list.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) settle(item);
  });
  list.addEventListener("keydown", (event) => {
    if (!event.target.matches(selector)) return;
    const all = items();
    const here = all.indexOf(event.target);
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (there === undefined || !all[there]) return;
    event.preventDefault();
    all[there].focus();
  });
  // Keeps exactly one item reachable with Tab.
  return () => {
    const all = items();
    if (all.length && !all.some((item) => item.tabIndex === 0)) settle(all.at(fromEnd ? -1 : 0));
  };
}

function furnished(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
