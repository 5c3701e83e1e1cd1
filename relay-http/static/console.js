// The web chat. Shows the entries of /console/events in their order, and posts what the person writes to /console/send.
// Whatever arrives becomes DOM nodes through textContent and properties, never through HTML: what an agent prints, a
// repository holds or a person types must not become markup.

import * as attached from "./console-files.js";

const LINES_SHOWN = 40; // of a file, before "Show all"
const STEPS_SHOWN = 3; // of a stack of progress lines, before it is opened
const ENTRIES_MAX = 1000; // on the page; older ones are let go
const POST_TIMEOUT_MS = 15_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 10_000;
const RECONNECT_MS = 2_000;
const REPLAYED_MS = 250; // this long without an entry: the history is over

const chosen = location.search; // names the conversation
const DRAFT = `draft${chosen}`; // what is not sent yet is kept while another conversation is looked at
const part = (id) => document.getElementById(id);
const [log, composer, connection, newest, notice] = ["log", "composer", "connection", "newest", "notice"].map(part);
const scroller = log.parentElement;

/** A new element: its tag, its properties, its children (nodes or strings). */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---- Text: WhatsApp markup ------------------------------------------------------------------------------------------

// Code, a link, or a run between two equal markers that hug it and do not touch a word outside (snake_case stays).
// `**` is not WhatsApp's, but agents write it. The bound keeps a line of a thousand lone markers cheap.
const INLINE =
  /`([^`]+)`|(https?:\/\/[^\s<>"`]+)|(?<![\p{L}\p{N}*_~])(\*\*?|_|~)(?!\s|\3)(.{1,999}?)(?<!\s|\3)\3(?![\p{L}\p{N}])/gu;
const TAG_OF_MARKER = { "*": "strong", "**": "strong", _: "em", "~": "s" };

/** The nodes of one line. */
function inline(line) {
  const nodes = [];
  let end = 0;
  for (const { index, 0: whole, 1: code, 2: address, 3: marker, 4: marked } of line.matchAll(INLINE)) {
    nodes.push(line.slice(end, index));
    end = index + whole.length;
    if (code) nodes.push(make("code", {}, code));
    else if (address) nodes.push(...link(address));
    else nodes.push(make(TAG_OF_MARKER[marker], {}, ...inline(marked)));
  }
  return [...nodes, line.slice(end)];
}

/** A link, and the punctuation behind it that belongs to the sentence. */
function link(address) {
  const href = address.replace(address.includes("(") ? /[.,;:!?'*_~\]}]+$/ : /[.,;:!?'*_~\]})]+$/, "");
  return [make("a", { href, target: "_blank", rel: "noopener" }, href), address.slice(href.length)];
}

/** The blocks of a text: paragraphs, lists, quotes and ``` blocks. */
function markup(text) {
  // With a capture group, split() puts what was between the fences at the odd places.
  const pieces = text.split(/```(?:\w*\n)?([\s\S]*?)\n?```/);
  return pieces.flatMap((piece, at) => (at % 2 ? [make("pre", { tabIndex: 0 }, piece)] : paragraphs(piece)));
}

function paragraphs(text) {
  const blocks = [];
  let open; // the block that a next line of the same kind continues
  for (const line of text.split("\n")) {
    const [, sign, content] = /^\s*([->]) (.*)$/.exec(line) ?? [null, "", line];
    const tag = content.trim() ? { "-": "ul", ">": "blockquote", "": "p" }[sign] : null;
    if (tag !== open?.localName) {
      open = tag && make(tag);
      if (open) blocks.push(open);
    } else if (open && tag !== "ul") {
      open.append("\n");
    }
    if (tag === "ul") open.append(make("li", {}, ...inline(content)));
    else open?.append(...inline(content));
  }
  return blocks;
}

// ---- Code: diffs and files ------------------------------------------------------------------------------------------

// Characters that make code read differently from what it is (bidirectional controls, zero-width ones, a stray CR).
const DECEPTIVE = /[\r\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g;
const codePoint = (sign) => `⟨U+${sign.charCodeAt(0).toString(16).padStart(4, "0")}⟩`;
const reveal = (text) => text.replace(DECEPTIVE, (sign) => (sign === "\r" ? "␍" : codePoint(sign)));

// What the lines from `diff --git` to the first hunk say about a file.
const DIFF_HEADERS = [
  [/^diff --git "?a\/(.*?)"? "?b\/\1"?$/, (file, name) => { file.name = name; }],
  [/^\+\+\+ "?b\/(.*?)"?\t?$/, (file, name) => { file.name = name; }],
  [/^rename to "?(.*?)"?$/, (file, name) => { file.name = name; }],
  [/^rename from "?(.*?)"?$/, (file, name) => remark(file, `renamed from ${name}`)],
  [/^(new|deleted) file mode/, (file, change) => { file.change = change; }],
  [/^(?:new|new file) mode (100755|120000|160000)$/, (file, mode) => remark(file, MODES[mode])],
  [/^old mode 100755$/, (file) => remark(file, "no longer executable")],
  [/^(?:Binary files|GIT binary patch)/, (file) => remark(file, "binary file")],
];
const MODES = { 100755: "executable", 120000: "symbolic link", 160000: "submodule" };
const remark = (file, text) => file.rows.push({ kind: "remark", text });
const KIND_OF_SIGN = { "+": "add", "-": "del", " ": "same", "": "same", "@": "hunk" };

/** The files of a unified diff: name, "new" or "deleted", rows. */
function parseDiff(diff) {
  const files = [];
  for (const line of diff.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("diff --git ")) files.push({ name: "", change: "", rows: [], inHunks: false });
    const file = files.at(-1);
    file.inHunks ||= line.startsWith("@@") || line.startsWith("…");
    const kind = KIND_OF_SIGN[line.slice(0, 1)] ?? "remark";
    if (!file.inHunks) readHeader(file, line);
    else file.rows.push({ kind, text: kind === "hunk" || kind === "remark" ? line : line.slice(1) });
  }
  return files;
}

function readHeader(file, line) {
  for (const [pattern, note] of DIFF_HEADERS) {
    const found = pattern.exec(line);
    if (found) note(file, found[1]);
  }
}

function diffView(diff) {
  const view = make("div", { className: "diff", ariaLive: "off" });
  for (const { name, change, rows } of parseDiff(diff)) {
    const label = make("span", { className: "name", title: name }, make("bdi", {}, reveal(name)));
    const heading = make("summary", {}, label, make("span", { className: "change" }, change));
    for (const [kind, sign] of [["add", "+"], ["del", "−"]]) {
      const count = rows.filter((row) => row.kind === kind).length;
      if (count > 0) heading.append(make("span", { className: `count ${kind}` }, `${sign}${count}`));
    }
    view.append(make("details", { className: "file", open: true }, heading, ...excerpt(name, rows)));
  }
  return view;
}

function fileView(text) {
  const rows = text.replace(/\n$/, "").split("\n").map((line) => ({ kind: "plain", text: line }));
  return make("div", { className: "file", ariaLive: "off" }, ...excerpt("Code", rows));
}

function lineView({ kind, text }) {
  const sign = { add: "+", del: "-", same: " " }[kind];
  const line = make("div", { className: `line ${kind}` });
  if (sign) line.append(make("span", { className: "sign" }, sign));
  line.append(make("span", { className: "code" }, reveal(text)));
  return line;
}

/** The first rows in a box of their own that scrolls sideways, and a button for the rest, which is built only then. */
function excerpt(label, rows) {
  const lines = make("div", { className: "lines" }, ...rows.slice(0, LINES_SHOWN).map(lineView));
  const box = make("div", { className: "box", tabIndex: 0, role: "group", ariaLabel: label }, lines);
  if (rows.length <= LINES_SHOWN) return [box];
  const all = make("button", { type: "button", className: "all" }, `Show all ${rows.length} lines`);
  all.onclick = () => {
    lines.append(...rows.slice(LINES_SHOWN).map(lineView));
    all.remove();
    box.focus({ preventScroll: true });
  };
  return [box, all];
}

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
  own.delete(id);
  mark(bubble, null);
  bubble.classList.remove("pending");
  place(bubble);
  entitle(text);
  remember(text);
  const said = text.trim().toLowerCase();
  const word = SHORT_WORDS[said] ?? said;
  const chosen = buttons().find(({ value, textContent }) => value === word || textContent.toLowerCase() === said);
  if (chosen || word === "cancel") closeChoice(chosen);
}

/** Until it is loaded again, the page calls a new conversation what the relay calls it. */
function entitle(text) {
  const title = text.trim().replace(/\s+/g, " ").slice(0, 60);
  const label = document.querySelector("#conversations [aria-current] .untitled");
  if (!label || !title) return;
  Object.assign(label, { textContent: reveal(title), className: "" });
  document.title = `${title} · Textslash`;
}

const SHORT_WORDS = { a: "approve", r: "reject", c: "cancel" };
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
  const image = make("img", { className: "picture", src: address, alt: text || "Picture from the agent" });
  const frame = make("a", { className: "frame", href: address, target: "_blank", rel: "noopener" }, image);
  image.onerror = () => frame.replaceWith(make("p", { className: "gone" }, "This picture is no longer kept."));
  return frame;
}

function documentView(address, text) {
  const name = make("span", { className: "name" }, text || "Document from the agent");
  return make("a", { className: "document", href: address, download: "diff.pdf" }, "📄 ", name, " (PDF)");
}

/** Buttons to answer with, each with its class, its label and its payload. */
function choiceView(answers) {
  closeChoice(null);
  openChoice = make("div", { className: "choice", role: "group", ariaLabel: "Your answer" });
  for (const [className, label, payload] of answers) {
    const button = make("button", { type: "button", className, value: spoken(payload) }, label);
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
  const random = crypto.getRandomValues(new Uint8Array(8));
  const id = `web-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  const { text = spoken(content.button), files } = content;
  const message = { body: { id, ...content }, bubble: personBubble(text, files?.map(({ name }) => name)) };
  own.set(id, message);
  enqueue(message);
}

function enqueue(message) {
  mark(message.bubble, "sending", "sending…");
  message.bubble.classList.add("pending");
  log.append(message.bubble);
  scrollToEnd();
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
  if (response.ok) mark(message.bubble, null);
  else if (own.has(message.body.id)) {
    const reason = response.status === 413 ? "Too long to send." : `Not sent (error ${response.status}).`;
    message.bubble.classList.remove("pending");
    const again = make("button", { type: "button", onclick: () => enqueue(message) }, "Try again");
    mark(message.bubble, "failed", reason, again);
  }
  return true;
}

/** Says under a bubble how its sending goes; `null`: it went well. */
function mark(bubble, state, ...words) {
  bubble.querySelector(".sent")?.remove();
  if (state) bubble.append(make("div", { className: `sent ${state}` }, ...words));
}

/** The session has ended: what is not sent yet is kept over the reload, which leads to the sign-in form. */
function signInAgain() {
  const unsent = [...own.values()].filter(({ bubble }) => bubble.querySelector(".sent")).map(({ body }) => body.text);
  removeEventListener("pagehide", keepDraft);
  sessionStorage.setItem(DRAFT, [...unsent, composer.value].filter(Boolean).join("\n"));
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
const ANSWERS = new Set(["approve", "reject", "cancel"]);
let recalled = null; // how many steps back the composer shows; null: what is being written
let written = ""; // what was being written before

/** An answer is given to one diff; it is not to be given to the next one by chance. */
function remember(text) {
  const said = text.trim().toLowerCase();
  if (!said || ANSWERS.has(SHORT_WORDS[said] ?? said) || remembered.at(-1) === text) return;
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

const keepDraft = () => sessionStorage.setItem(DRAFT, composer.value);
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
composer.oninput = () => { recalled = null; fitComposer(); };
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

composer.value = sessionStorage.getItem(DRAFT) ?? "";
addEventListener("pagehide", keepDraft);
fitComposer();
// With a touch keyboard, focus would cover half of the chat.
if (matchMedia("(hover: hover)").matches) composer.focus();
connect();
