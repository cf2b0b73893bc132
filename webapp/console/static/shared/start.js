// The start of both pages: a valid token and its user.

import { Problem, get, tried } from "./api.js";
import { confirmed } from "./dialogs.js";
import { byId } from "./dom.js";
import { hasUnsent } from "./kept.js";
import { begin, notice, signOut, token } from "./session.js";

const AGAIN_MS = 4_000;

// Shows the form until the user is signed in, then calls `open` with the facts of the server.
export async function start(open) {
  skips();
  if (!token()) {
    showForm(notice());
    return;
  }
  try {
    const facts = await get("/api/console");
    showPage(facts);
    byId("sign-out").addEventListener("click", () => leave(facts.user_id));
    open(facts);
  } catch (error) {
    if (!(error instanceof Problem && error.status === 401)) showRetry(error.message);
  }
}

// The skip link moves the focus to the content and leaves the address as it is.
function skips() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
}

async function leave(userId) {
  const question = {
    title: "Sign out?",
    text: "Unsent messages and drafts are deleted, too.",
    action: "Sign out",
  };
  if (!hasUnsent(userId) || (await confirmed(question))) signOut();
}

function showPage(facts) {
  byId("who").textContent = facts.user_id;
  byId("who").title = facts.user_id;
  byId("to-operations").hidden = !facts.is_admin;
  byId("sign-in").hidden = true;
  byId("page").hidden = false;
  document.body.dataset.signed = "in";
}

function showForm(text) {
  const [form, field] = [byId("token-form"), byId("token")];
  byId("sign-in").hidden = false;
  tell(text);
  field.focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Text copied from a terminal often has a line break or the word Bearer in it.
    const given = field.value.replace(/\s+/g, " ").trim().replace(/^bearer /i, "").replaceAll(" ", "");
    if (!given) {
      tell("Paste a token first.", true);
      return;
    }
    // A header allows no other characters, and a token has no others.
    if (/[^A-Za-z0-9._~+/=-]/.test(given)) {
      tell("This is not a token: it has characters that are not allowed in one.", true);
      return;
    }
    tell("Asking the server…");
    try {
      await tried(given);
    } catch (error) {
      tell(error.status === 401 ? refusal(error) : error.message, true);
      field.select();
      return;
    }
    field.value = "";
    begin(given);
    location.reload();
  });
}

function refusal(error) {
  return error.message.includes("expired")
    ? "This token has expired. Get a new one."
    : "The server does not accept this token. Is it complete, and was it made for this server?";
}

// The token is kept and tried again by itself: it may be valid when the server answers again.
function showRetry(text) {
  showForm(`${text} Your token is kept, and tried again by itself.`);
  setInterval(async () => {
    const answer = await tried(token()).catch((error) => error);
    if (!(answer instanceof Error) || answer.status === 401) location.reload();
  }, AGAIN_MS);
}

function tell(text, isTrouble = false) {
  byId("sign-in-note").textContent = text;
  byId("sign-in-note").classList.toggle("trouble", isTrouble);
}
