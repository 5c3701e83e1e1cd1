// The web chat. Shows the entries of /console/events in their order, and posts what the person writes to /console/send.
// Whatever arrives becomes DOM nodes through textContent and properties, never through HTML: what an agent prints, a
// repository holds or a person types must not become markup.

import * as attached from "./console-files.js";
import { diffView, fileView, make, markup, reveal } from "./console-text.js";

const STEPS_SHOWN = 3; // of a stack of progress lines, before it is opened
const ENTRIES_MAX = 1000; // on the page; older ones are let go
const POST_TIMEOUT_MS = 15_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 10_000;
const RECONNECT_MS = 2_000;
const REPLAYED_MS = 250; // this long without an entry: the history is over

const UNSENT_MAX = 50; // messages that are kept while the page is away
const UNSENT_KEEP_MS = 3_600_000; // until they are to be looked at again

const chosen = location.search; // names the conversation
const { address } = document.querySelector(".console").dataset; // whose it is, and which of theirs
const [DRAFT, UNSENT] = [`draft ${address}`, `unsent ${address}`]; // what is being written, and what was sent and has not arrived
const part = (id) => document.getElementById(id);
const [log, composer, connection, newest, notice] = ["log", "composer", "connection", "newest", "notice"].map(part);
const scroller = log.parentElement;

// ---- The log --------------------------------------------------------------------------------------------------------

const seen = new Set(); // cursors: a stream that had to be opened anew replays from the start
const own = new Map(); // id -> message written here, until its echo comes
let following = true; // the newest entry is kept in view
let scrolledTo = 0; // by the last scroll event
let openChoice = null; // the buttons that still decide something
let replayed; // timer

const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 32;

function scrollToEnd() {
  following = true;
  newest.hidden = true;
  scroller.scrollTop = scroller.scrollHeight;
}

/** Puts an element at the end of what has happened: before messages that are still on their way. */
function place(element) {
  log.insertBefore(element, log.querySelector(":scope > .pending"));
  while (log.childElementCount > ENTRIES_MAX) log.firstElementChild.remove();
  if (!following) newest.hidden = false;
}

function receive({ data, lastEventId }) {
  if (seen.has(lastEventId)) return;
  seen.add(lastEventId);
  const entry = JSON.parse(data);
  const show = entry.from === "person" ? showPerson : entry.passing ? showStep : showRelay;
  if (entry.settles) closeChoice(null);
  show(entry);
  awaitEndOfReplay();
}

/** While the history is replayed, nothing is announced and no welcome is shown. */
function awaitEndOfReplay() {
  clearTimeout(replayed);
  replayed = setTimeout(() => { log.ariaBusy = "false"; }, REPLAYED_MS);
}

const textView = (text) => make("div", { className: "text" }, ...markup(text));

function personBubble(text, files = []) {
  const bubble = make("article", { className: "message from-person", ariaLabel: "You" });
  if (files.length) {
    const names = files.map((name) => make("li", {}, make("bdi", {}, reveal(name || "file"))));
    bubble.append(make("ul", { className: "sent-files", ariaLabel: "Attached files" }, ...names));
  }
  if (text || !files.length) bubble.append(textView(text));
  return bubble;
}

/** The echo of a message settles its bubble, or makes one if it was written elsewhere. */
function showPerson({ id, text, files }) {
  const bubble = own.get(id)?.bubble ?? personBubble(text, files);
  mark(bubble, null);
  if (own.delete(id)) keep();
  bubble.classList.remove("pending");
  place(bubble);
  entitle(text);
  remember(text);
  const [said, word] = [text.trim().toLowerCase(), wordOf(text)];
  const chosen = buttons().find(({ value, textContent }) => value === word || textContent.toLowerCase() === reveal(said));
  if (chosen || word === "cancel") closeChoice(chosen);
}

/** Until it is loaded again, the page calls a new conversation what the relay calls it. */
function entitle(text) {
  const title = reveal(text.trim().replace(/\s+/g, " ").slice(0, 60));
  const label = document.querySelector("#conversations [aria-current] .untitled");
  if (!label || !title) return;
  Object.assign(label, { textContent: title, className: "" });
  document.title = `${title} · Textslash`;
}

const SHORT_WORDS = { a: "approve", r: "reject", c: "cancel" };
const ANSWERS = new Set(Object.values(SHORT_WORDS));

/** What is taken for a word of the chat, if it is one. */
function wordOf(text) {
  const said = text.trim().toLowerCase();
  return SHORT_WORDS[said] ?? said;
}

const buttons = () => [...openChoice?.children ?? []];

/** What one would type instead of pressing a button: a word, or the number of an option. */
const spoken = (payload) => payload.split(":").at(payload.startsWith("reply:") ? -1 : 0);

function showRelay({ text, code, picture, document: isDocument, choice, options }) {
  const className = code ? "message from-relay wide" : "message from-relay";
  const message = make("article", { className, ariaLabel: "Textslash" });
  if (picture && isDocument) message.append(documentView(picture, text));
  else if (picture) message.append(pictureView(picture, text));
  if (text && !(picture && isDocument)) message.append(textView(text));
  if (code) message.append(code.startsWith("diff --git") ? diffView(code) : fileView(code));
  if (choice) {
    message.append(choiceView([
      ["approve primary", "Approve", choice.approve],
      ["reject danger", "Reject", choice.reject],
    ]));
  }
  if (options) {
    message.append(choiceView(options.map(({ label, payload }) => ["option", label, payload])));
  }
  place(message);
}

function pictureView(address, text) {
  const image = make("img", { className: "picture", src: address, alt: reveal(text) || "Picture from the agent" });
  const frame = make("a", { className: "frame", href: address, target: "_blank", rel: "noopener" }, image);
  image.onerror = () => frame.replaceWith(make("p", { className: "gone" }, "This picture is no longer kept."));
  return frame;
}

function documentView(address, text) {
  const name = make("span", { className: "name" }, reveal(text) || "Document from the agent");
  return make("a", { className: "document", href: address, download: "diff.pdf" }, "📄 ", name, " (PDF)");
}

/** Buttons to answer with, each with its class, its label and its payload. */
function choiceView(answers) {
  closeChoice(null);
  openChoice = make("div", { className: "choice", role: "group", ariaLabel: "Your answer" });
  for (const [className, label, payload] of answers) {
    const button = make("button", { type: "button", className, value: spoken(payload) }, reveal(label));
    button.onclick = (event) => {
      // Pressed by a key: a button that does nothing any more can't keep the focus.
      if (event.detail === 0) composer.focus();
      closeChoice(button);
      send({ button: payload });
    };
    openChoice.append(button);
  }
  return openChoice;
}

/** From now on the last buttons only show what was answered, if anything. */
function closeChoice(chosen) {
  for (const button of buttons()) button.disabled = true;
  chosen?.classList.add("chosen");
  openChoice = null;
}

/** Consecutive lines about what is going on share a stack of which the latest are visible. */
function showStep({ text }) {
  let stack = [...log.querySelectorAll(":scope > :not(.pending)")].at(-1);
  if (!stack?.classList.contains("steps")) {
    stack = make("section", { className: "steps", ariaLabel: "Progress" });
    const toggle = make("button", { type: "button", className: "earlier", ariaExpanded: "false", hidden: true });
    toggle.onclick = () => { toggle.ariaExpanded = String(stack.classList.toggle("open")); };
    stack.append(toggle);
    place(stack);
  }
  stack.append(make("div", { className: "passing" }, ...markup(text)));
  const [toggle, ...lines] = stack.children;
  const early = lines.length - STEPS_SHOWN;
  if (early <= 0) return;
  lines[early - 1].classList.add("early");
  toggle.textContent = `Earlier steps (${early})`;
  toggle.hidden = false;
}

// ---- Sending --------------------------------------------------------------------------------------------------------

let sending = Promise.resolve(); // one message at a time, so that they arrive in the order they were written
let wake = () => {}; // ends the wait for the next try

/** Sends `{ text }`, with or without `files`, or `{ button }`, with a bubble that is there at once. */
function send(content) {
  notice.hidden = true;
  const random = crypto.getRandomValues(new Uint8Array(8));
  const id = `web-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  sendAs({ id, ...content }, Date.now());
}

/** The same under the id that it has, since when it was written. */
function sendAs(body, at) {
  const { text = spoken(body.button), files } = body;
  const message = { body, at, bubble: personBubble(text, files?.map(({ name }) => name)) };
  own.set(body.id, message);
  enqueue(message);
}

function enqueue(message) {
  mark(message.bubble, "sending", "sending…");
  message.bubble.classList.add("pending");
  log.append(message.bubble);
  scrollToEnd();
  keep();
  sending = sending.then(() => deliver(message));
}

async function deliver(message) {
  // The echo may come although the answer to the request was lost.
  for (let delay_ms = RETRY_FIRST_MS; own.has(message.body.id) && !(await post(message)); delay_ms *= 2) {
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, Math.min(delay_ms, RETRY_MOST_MS)); });
  }
}

/** True when the relay has answered for good; false when the same message, with the same id, is worth another try. */
async function post(message) {
  const response = await fetch(`/console/send${chosen}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message.body),
    signal: AbortSignal.timeout(POST_TIMEOUT_MS),
  }).catch(() => ({ status: 503 })); // no network, or no answer in time
  if (response.status === 401) signInAgain();
  if ([401, 429, 502, 503, 504].includes(response.status)) return false;
  if (response.ok) {
    mark(message.bubble, null);
    keep();
  } else if (own.has(message.body.id)) refused(message, response.status, await response.text().catch(() => ""));
  return true;
}

function refused(message, status, why) {
  const { body, bubble } = message;
  bubble.classList.remove("pending");
  if (status !== 400) {
    const reason = status === 413 ? "Too long to send." : `Not sent (error ${status}).`;
    const again = make("button", { type: "button", onclick: () => enqueue(message) }, "Try again");
    return mark(bubble, "failed", reason, again);
  }
  // As it is, it is refused for ever: what was written is given back, to be sent in another way.
  own.delete(body.id);
  mark(bubble, "failed", `Not sent: ${reveal(why.trim())}.`);
  giveBack([body.text]);
}

/** Says under a bubble how its sending goes; `null`: it went well. */
function mark(bubble, state, ...words) {
  bubble.querySelector(".sent")?.remove();
  if (state) bubble.append(make("div", { className: `sent ${state}` }, ...words));
}

/** The session has ended: the page, loaded again, is the sign-in form, and what is not sent yet waits for what follows. */
function signInAgain() {
  notice.textContent = "You are signed out. Please sign in again.";
  notice.hidden = false;
  setTimeout(() => location.reload(), 1_500);
}

// ---- The stream -----------------------------------------------------------------------------------------------------

function connect() {
  const source = new EventSource(`/console/events${chosen}`);
  const show = (state, label) => { connection.dataset.state = state; connection.textContent = label; };
  source.onmessage = receive;
  source.onopen = () => { show("open", "Connected"); awaitEndOfReplay(); wake(); };
  source.onerror = () => { show("connecting", "Reconnecting…"); if (source.readyState === source.CLOSED) reconnect(); };
}

/** The browser reopens a broken stream itself, but gives up on a refusal, and does not say which it was. */
async function reconnect() {
  const page = await fetch(`/console${chosen}`, { cache: "no-store" }).catch(() => null);
  if (page?.status === 401) signInAgain();
  else setTimeout(connect, RECONNECT_MS);
}

// ---- The keyboard ---------------------------------------------------------------------------------------------------

const remembered = []; // what was sent, the oldest first
const REMEMBERED_MAX = 50;
let recalled = null; // how many steps back the composer shows; null: what is being written
let written = ""; // what was being written before

/** An answer is given to one diff; it is not to be given to the next one by chance. */
function remember(text) {
  if (!text.trim() || ANSWERS.has(wordOf(text)) || remembered.at(-1) === text) return;
  remembered.push(text);
  if (remembered.length > REMEMBERED_MAX) remembered.shift();
}

/** Shows what was sent so many steps ago; with 0, what was being written. */
function recall(steps) {
  if (recalled === null) written = composer.value;
  recalled = steps > 0 ? steps : null;
  composer.value = steps > 0 ? remembered.at(-steps) : written;
  fitComposer();
}

function recallByKey(event) {
  // Within a text that is being written the arrows move as ever.
  const mayLeave = recalled !== null || (event.key === "ArrowUp" && composer.selectionEnd === 0);
  const steps = (recalled ?? 0) + (event.key === "ArrowUp" ? 1 : -1);
  if (!mayLeave || event.shiftKey || steps > remembered.length) return;
  event.preventDefault();
  recall(steps);
}

/** Esc leaves what was recalled; else the composer for the conversation, and whatever else for the composer. */
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || part("conversations").matches(":popover-open")) return;
  event.preventDefault();
  if (document.activeElement !== composer) composer.focus();
  else if (recalled === null) scroller.focus({ preventScroll: true });
  else recall(0);
});

// ---- The page -------------------------------------------------------------------------------------------------------

const kept = storage();

/** Nothing, where the browser keeps nothing for pages. */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** For this tab alone: what is being written, and what has not arrived. Always as it is now: a page may go without a word. */
function keep() {
  const waiting = [...own.values()].filter(({ bubble }) => bubble.querySelector(".sent"));
  const unsent = waiting.slice(0, UNSENT_MAX).map(({ body, at }) => ({ body, at }));
  kept?.removeItem(UNSENT);
  try {
    kept?.setItem(DRAFT, composer.value);
    kept?.setItem(UNSENT, JSON.stringify(unsent));
  } catch {
    // More than there is room for.
  }
}

/** What had not arrived is sent again under its id; what may be meant no more is given back, to be looked at. */
function takeUp() {
  composer.value = kept?.getItem(DRAFT) ?? "";
  const old = [];
  for (const { body, at } of JSON.parse(kept?.getItem(UNSENT) ?? "[]")) {
    // A word that answers would now answer whatever waits; a button names its diff.
    if (Date.now() - at < UNSENT_KEEP_MS && !ANSWERS.has(wordOf(body.text ?? ""))) sendAs(body, at);
    else old.push(body);
  }
  giveBack(old.map(({ text }) => text));
  if (!old.some(({ files }) => files)) return;
  notice.textContent = "A message with files was not sent. Please attach them again.";
  notice.hidden = false;
}

/** Texts that were sent in vain, before what is being written. */
function giveBack(texts) {
  if (texts.length) recalled = null;
  composer.value = [...texts, composer.value].filter(Boolean).join("\n");
  fitComposer();
  keep();
}

function fitComposer() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight + composer.offsetHeight - composer.clientHeight}px`;
}

part("form").onsubmit = (event) => {
  event.preventDefault();
  composer.focus();
  if (!composer.value.trim() && attached.isEmpty()) return;
  if (attached.isUploading()) return attached.whenUploaded(() => part("form").requestSubmit());
  if (attached.hasFailed()) return;
  const text = composer.value;
  recalled = null;
  composer.value = "";
  fitComposer();
  send(attached.isEmpty() ? { text } : { text, files: attached.take() });
};
composer.oninput = () => { recalled = null; fitComposer(); keep(); };
composer.onkeydown = (event) => {
  if (["ArrowUp", "ArrowDown"].includes(event.key) && !event.isComposing) return recallByKey(event);
  // Enter that ends the input of a composed character is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  part("form").requestSubmit();
};
part("cancel").onclick = () => send({ text: "cancel" });
for (const chip of document.querySelectorAll(".chips button")) chip.onclick = () => send({ text: chip.value });

newest.onclick = scrollToEnd;
scroller.onscroll = () => {
  // Only a way up ends the following: below, an entry may just have come that is not followed yet.
  following = atEnd() || (following && scroller.scrollTop >= scrolledTo);
  newest.hidden ||= following;
  scrolledTo = scroller.scrollTop;
};
// Entries, pictures, a growing composer and an on-screen keyboard all change one of these sizes.
const sizes = new ResizeObserver(() => { if (following) scrollToEnd(); });
for (const box of [log, scroller]) sizes.observe(box);
// What a person opens in the log stays where it is.
log.addEventListener("click", (event) => {
  if (!event.target.closest("summary, .all, .earlier")) return;
  following = false;
  requestAnimationFrame(() => { following = atEnd(); });
});

takeUp();
addEventListener("pagehide", keep);
// With a touch keyboard, focus would cover half of the chat.
if (matchMedia("(hover: hover)").matches) composer.focus();
connect();
