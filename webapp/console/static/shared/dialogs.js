// Questions in the browser's own dialog: it keeps the focus, and Escape closes it.

import { el } from "./dom.js";

// Asks for confirmation. `action` is the text of the button.
export function confirmed({ title, text, action }) {
  return asked(title, [el("p", {}, text)], action, { isDanger: true }).then((answer) => answer !== null);
}

// Asks for a line of text; null if it is cancelled.
export async function lineFor({ title, label, value = "", action, placeholder = "" }) {
  const field = el("input", { name: "line", id: "dialog-line", maxlength: 300, placeholder, autocomplete: "off" });
  field.value = value;
  const form = await asked(title, [el("label", { for: "dialog-line" }, label), field], action, { first: field });
  return form === null ? null : field.value.trim();
}

function asked(title, content, action, { isDanger = false, first = null }) {
  const yes = el("button", { class: isDanger ? "danger" : "primary", value: "yes" }, action);
  const no = el("button", { value: "", type: "button" }, "Cancel");
  const dialog = el(
    "dialog",
    { class: "question", "aria-labelledby": "dialog-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "dialog-title" }, title),
      ...content,
      el("div", { class: "buttons" }, no, yes),
    ),
  );
  no.addEventListener("click", () => dialog.close(""));
  document.body.append(dialog);
  dialog.showModal();
  (first ?? no).focus();
  first?.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? dialog : null);
    });
  });
}
