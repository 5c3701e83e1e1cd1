// The web chat. Shows the entries of /console/events in their order, and posts what the person writes to /console/send.
//
// Whatever arrives becomes DOM nodes through textContent and properties, never through HTML: what an agent prints, a
// repository holds or a person types must not become markup.

const LINES_SHOWN = 40; // of a file, before "Show all"
const STEPS_SHOWN = 3; // of a stack of progress lines, before it is opened
const ENTRIES_MAX = 1000; // on the page; older ones are let go
const POST_TIMEOUT_MS = 15_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 10_000;
const RECONNECT_MS = 2_000;
const REPLAYED_MS = 250; // this long without an entry: the history is over

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
// `**` is not WhatsApp's, but agents write it.
const INLINE =
  /`([^`]+)`|(https?:\/\/[^\s<>"`]+)|(?<![\p{L}\p{N}*_~])(\*\*?|_|~)(?!\s|\3)(.+?)(?<!\s|\3)\3(?![\p{L}\p{N}*_~])/gu;
const TAG_OF_MARKER = { "*": "strong", "**": "strong", _: "em", "~": "s" };

/** The nodes of one line. */
function inline(line) {
  const nodes = [];
  let end = 0;
  for (const found of line.matchAll(INLINE)) {
    const [whole, code, address, marker, marked] = found;
    nodes.push(line.slice(end, found.index));
    end = found.index + whole.length;
    if (code) nodes.push(make("code", {}, code));
    else if (address) nodes.push(...link(address));
    else nodes.push(make(TAG_OF_MARKER[marker], {}, ...inline(marked)));
  }
  nodes.push(line.slice(end));
  return nodes;
}

/** A link, and the punctuation behind it that belongs to the sentence. */
function link(address) {
  const closing = address.includes("(") ? /[.,;:!?'*_~\]}]+$/ : /[.,;:!?'*_~\]})]+$/;
  const href = address.replace(closing, "");
  return [make("a", { href, target: "_blank", rel: "noopener" }, href), address.slice(href.length)];
}

/** The blocks of a text: paragraphs, lists, quotes and ``` blocks. */
function markup(text) {
  const blocks = [];
  // With a capture group, split() puts what was between the fences at the odd places.
  text.split(/```(?:\w*\n)?([\s\S]*?)\n?```/).forEach((piece, at) => {
    if (at % 2 === 1) blocks.push(make("pre", { tabIndex: 0 }, piece));
    else blocks.push(...paragraphs(piece));
  });
  return blocks;
}

function paragraphs(text) {
  const blocks = [];
  let open = null; // { tag, element } that the next line of the same kind continues
  for (const line of text.split("\n")) {
    const [, sign, content] = /^\s*([->]) (.*)$/.exec(line) ?? [null, "", line];
    if (!content.trim()) {
      open = null;
      continue;
    }
    const tag = { "-": "ul", ">": "blockquote" }[sign] ?? "p";
    const continued = open?.tag === tag;
    if (!continued) {
      open = { tag, element: make(tag) };
      blocks.push(open.element);
    }
    if (tag === "ul") open.element.append(make("li", {}, ...inline(content)));
    else open.element.append(...(continued ? ["\n"] : []), ...inline(content));
  }
  return blocks;
}

// ---- Code: diffs and files ------------------------------------------------------------------------------------------

// Characters that make code read differently from what it is (bidirectional controls, zero-width ones, a stray CR).
const DECEPTIVE = /[\r\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]/g;
const reveal = (text) => text.replace(DECEPTIVE, (sign) => {
  return sign === "\r" ? "␍" : `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
});

// What the lines between `diff --git` and the first hunk say about a file.
const DIFF_HEADERS = [
  [/^diff --git "?a\/(.*?)"? "?b\/\1"?$/, (file, name) => { file.name = name; }],
  [/^\+\+\+ "?b\/(.*?)"?\t?$/, (file, name) => { file.name = name; }],
  [/^--- "?a\/(.*?)"?\t?$/, (file, name) => { file.name ||= name; }],
  [/^new file mode/, (file) => { file.change = "new"; }],
  [/^deleted file mode/, (file) => { file.change = "deleted"; }],
  [/^rename from (.*)$/, (file, from) => { file.change = `renamed from ${from}`; }],
  [/^copy from (.*)$/, (file, from) => { file.change = `copied from ${from}`; }],
  [/^(?:rename|copy) to (.*)$/, (file, name) => { file.name = name; }],
  [/^new mode (\d+)$/, (file, mode) => { file.change = `mode ${mode}`; }],
  [/^(?:Binary files|GIT binary patch)/, (file) => { file.rows.push({ kind: "remark", text: "Binary file" }); }],
];
const KIND_OF_SIGN = { "+": "add", "-": "del", "@": "hunk", "\\": "remark", "…": "remark" };

/** The files of a unified diff: name, kind of change, rows. */
function parseDiff(diff) {
  const files = [];
  let inHunks = false;
  for (const line of diff.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push({ name: "", change: "", rows: [] });
      inHunks = false;
    }
    const file = files.at(-1);
    inHunks ||= line.startsWith("@@") || line.startsWith("…");
    if (inHunks) {
      const kind = KIND_OF_SIGN[line[0]] ?? "same";
      file.rows.push({ kind, text: ["add", "del", "same"].includes(kind) ? line.slice(1) : line });
      continue;
    }
    for (const [pattern, note] of DIFF_HEADERS) {
      const found = pattern.exec(line);
      if (found) note(file, found[1]);
    }
  }
  return files;
}

function diffView(diff) {
  const view = make("div", { className: "diff", ariaLive: "off" });
  for (const { name, change, rows } of parseDiff(diff)) {
    const count = (kind) => rows.filter((row) => row.kind === kind).length;
    const heading = make("summary", {},
      make("span", { className: "name", title: name }, make("bdi", {}, reveal(name))),
      make("span", { className: "change" }, reveal(change)),
      make("span", { className: "count add" }, `+${count("add")}`),
      make("span", { className: "count del" }, `−${count("del")}`));
    const file = make("details", { className: "file", open: true }, heading);
    file.append(...excerpt(name, rows, ({ kind, text }) => {
      const sign = { add: "+", del: "-" }[kind] ?? " ";
      const line = make("div", { className: `line ${kind}` });
      if (kind !== "hunk" && kind !== "remark") line.append(make("span", { className: "sign" }, sign));
      line.append(make("span", { className: "code" }, reveal(text)));
      return line;
    }));
    view.append(file);
  }
  return view;
}

function fileView(text) {
  const rows = text.replace(/\n$/, "").split("\n");
  const lines = excerpt("Code", rows, (row) => make("div", { className: "line" }, make("span", { className: "code" }, reveal(row))));
  return make("div", { className: "file", ariaLive: "off" }, ...lines);
}

/** The first rows in a box of their own that scrolls sideways, and a button for the rest, which is built only then. */
function excerpt(label, rows, draw) {
  if (rows.length === 0) return [];
  const lines = make("div", { className: "lines" }, ...rows.slice(0, LINES_SHOWN).map(draw));
  const box = make("div", { className: "box", tabIndex: 0, role: "group", ariaLabel: label }, lines);
  if (rows.length <= LINES_SHOWN) return [box];
  const all = make("button", { type: "button", className: "all" }, `Show all ${rows.length} lines`);
  all.onclick = () => {
    lines.append(...rows.slice(LINES_SHOWN).map(draw));
    all.remove();
    box.focus({ preventScroll: true });
  };
  return [box, all];
}

// ---- The log --------------------------------------------------------------------------------------------------------

const seen = new Set(); // cursors: a stream that had to be opened anew replays from the start
const own = new Map(); // id -> bubble of a message written here whose echo has not come yet
let following = true; // the newest entry is kept in view
let openChoice = null; // the pair of buttons that still decides something
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
  if (entry.from === "person") showPerson(entry);
  else if (entry.passing) showStep(entry);
  else showRelay(entry);
  awaitEndOfReplay();
}

/** While the history is replayed, nothing is announced and no welcome is shown. */
function awaitEndOfReplay() {
  clearTimeout(replayed);
  replayed = setTimeout(() => { log.ariaBusy = "false"; }, REPLAYED_MS);
}

function personBubble(text) {
  return make("article", { className: "message from-person", ariaLabel: "You" },
    make("div", { className: "text" }, ...markup(text)));
}

/** The echo of a message settles its bubble, or makes one if it was written elsewhere. */
function showPerson({ id, text }) {
  const bubble = own.get(id) ?? personBubble(text);
  own.delete(id);
  mark(bubble, null);
  bubble.classList.remove("pending");
  place(bubble);
  const decision = { a: "approve", approve: "approve", r: "reject", reject: "reject", c: "cancel", cancel: "cancel" };
  const word = decision[text.trim().toLowerCase()];
  if (word) closeChoice(word);
}

function showRelay({ text, code, picture, choice }) {
  const message = make("article", { className: "message from-relay", ariaLabel: "Textslash" });
  if (picture) message.append(pictureView(picture, text));
  if (text) message.append(make("div", { className: "text" }, ...markup(text)));
  if (code) message.append(code.startsWith("diff --git") ? diffView(code) : fileView(code));
  if (choice) message.append(choiceView(choice));
  message.classList.toggle("wide", Boolean(code || picture));
  place(message);
}

function pictureView(address, text) {
  const image = make("img", { className: "picture", src: address, alt: text || "Picture from the agent" });
  const frame = make("a", { className: "frame", href: address, target: "_blank", rel: "noopener" }, image);
  image.onerror = () => frame.replaceWith(make("p", { className: "gone" }, "This picture is no longer kept."));
  return frame;
}

function choiceView({ approve, reject }) {
  closeChoice(null);
  const button = (word, label, payload) => make("button", {
    type: "button",
    className: word,
    onclick: () => {
      closeChoice(word);
      send({ button: payload });
    },
  }, label);
  openChoice = make("div", { className: "choice", role: "group", ariaLabel: "Your answer" },
    button("approve", "Approve", approve), button("reject", "Reject", reject));
  return openChoice;
}

/** From now on the last pair of buttons only shows what was answered, if anything. */
function closeChoice(word) {
  for (const button of openChoice?.children ?? []) {
    button.disabled = true;
    if (button.className === word) button.classList.add("chosen");
  }
  openChoice = null;
}

/** Consecutive lines about what is going on share a stack of which the latest are visible. */
function showStep({ text }) {
  let stack = [...log.querySelectorAll(":scope > :not(.pending)")].at(-1);
  if (!stack?.classList.contains("steps")) {
    stack = make("section", { className: "steps", ariaLabel: "Progress" });
    const earlier = make("button", { type: "button", className: "earlier", ariaExpanded: "false", hidden: true });
    earlier.onclick = () => { earlier.ariaExpanded = String(stack.classList.toggle("open")); };
    stack.append(earlier);
    place(stack);
  }
  stack.append(make("div", { className: "passing" }, ...markup(text)));
  const hidden = stack.childElementCount - 1 - STEPS_SHOWN;
  stack.querySelector(".passing:not(.early)");
  if (hidden <= 0) return;
  stack.children[hidden].classList.add("early");
  stack.firstElementChild.hidden = false;
  stack.firstElementChild.textContent = hidden === 1 ? "1 earlier step" : `${hidden} earlier steps`;
}

// ---- Sending --------------------------------------------------------------------------------------------------------

const outbox = []; // sent one at a time, so that messages arrive in the order they were written
let draining = false;
let wake = () => {};

/** Sends `{ text }` or `{ button }`, with a bubble that is there at once. */
function send(content) {
  const id = `web-${[...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  const bubble = personBubble(content.text ?? content.button.split(":")[0]);
  own.set(id, bubble);
  enqueue({ bubble, body: { id, ...content } });
}

function enqueue(message) {
  mark(message.bubble, "sending");
  message.bubble.classList.add("pending");
  log.append(message.bubble);
  scrollToEnd();
  outbox.push(message);
  drain();
}

async function drain() {
  if (draining) return;
  draining = true;
  let delay_ms = RETRY_FIRST_MS;
  while (outbox.length > 0) {
    // The echo may have come although the answer to the request was lost.
    if (!own.has(outbox[0].body.id) || await post(outbox[0])) {
      outbox.shift();
      delay_ms = RETRY_FIRST_MS;
      continue;
    }
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, delay_ms);
    });
    delay_ms = Math.min(2 * delay_ms, RETRY_MOST_MS);
  }
  draining = false;
}

/** True when the relay has answered for good; false when the same message, with the same id, is worth another try. */
async function post(message) {
  let response;
  try {
    response = await fetch("/console/send", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(message.body),
      signal: AbortSignal.timeout(POST_TIMEOUT_MS),
    });
  } catch {
    return false;
  }
  if ([429, 502, 503, 504].includes(response.status)) return false;
  if (response.status === 401) {
    signInAgain();
    return false;
  }
  if (response.ok) mark(message.bubble, null);
  else refuse(message, response.status === 413 ? "Too long to send." : `Not sent (error ${response.status}).`);
  return true;
}

function refuse(message, reason) {
  message.bubble.classList.remove("pending");
  const again = make("button", { type: "button" }, "Try again");
  again.onclick = () => enqueue(message);
  mark(message.bubble, "failed", reason, again);
}

/** Puts a remark about its sending under a bubble, or takes it away. */
function mark(bubble, state, ...remark) {
  bubble.querySelector(".sent")?.remove();
  if (state) bubble.append(make("div", { className: `sent ${state}` }, ...(remark.length ? remark : ["sending…"])));
}

/** The session has ended: what is not sent yet is kept over the reload, which leads to the sign-in form. */
function signInAgain() {
  const unsent = [...outbox.map((message) => message.body.text), composer.value].filter(Boolean);
  sessionStorage.setItem("draft", unsent.join("\n"));
  notice.textContent = "You are signed out. Please sign in again.";
  notice.hidden = false;
  setTimeout(() => location.reload(), 1_500);
}

// ---- The stream -----------------------------------------------------------------------------------------------------

function connect() {
  const source = new EventSource("/console/events");
  source.onmessage = receive;
  source.onopen = () => {
    showConnection("open", "Connected");
    awaitEndOfReplay();
    wake();
  };
  source.onerror = () => {
    showConnection("connecting", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) reconnect();
  };
}

/** The browser reopens a broken stream itself, but gives up on an answer that is none, and does not say which it was. */
async function reconnect() {
  const page = await fetch("/console", { cache: "no-store" }).catch(() => null);
  if (page?.status === 401) signInAgain();
  else setTimeout(connect, RECONNECT_MS);
}

function showConnection(state, label) {
  connection.dataset.state = state;
  connection.textContent = label;
}

// ---- The page -------------------------------------------------------------------------------------------------------

function fitComposer() {
  composer.style.height = "auto";
  composer.style.height = `${composer.scrollHeight + composer.offsetHeight - composer.clientHeight}px`;
}

part("form").onsubmit = (event) => {
  event.preventDefault();
  const text = composer.value;
  composer.focus();
  if (!text.trim()) return;
  composer.value = "";
  fitComposer();
  send({ text });
};
composer.oninput = fitComposer;
composer.onkeydown = (event) => {
  // Enter that ends the input of a composed character is not meant for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  part("form").requestSubmit();
};
part("cancel").onclick = () => send({ text: "cancel" });
for (const chip of document.querySelectorAll(".chips button")) chip.onclick = () => send({ text: chip.value });

newest.onclick = scrollToEnd;
scroller.onscroll = () => {
  following = atEnd();
  if (following) newest.hidden = true;
};
// Entries, pictures, a growing composer and an on-screen keyboard all change one of these sizes.
const sizes = new ResizeObserver(() => { if (following) scrollToEnd(); });
sizes.observe(log);
sizes.observe(scroller);
// What a person opens in the log stays where it is.
log.addEventListener("click", () => {
  following = false;
  requestAnimationFrame(() => { following = atEnd(); });
});

composer.value = sessionStorage.getItem("draft") ?? "";
sessionStorage.removeItem("draft");
fitComposer();
// With a touch keyboard, focus would cover half of the chat.
if (matchMedia("(hover: hover)").matches) composer.focus();
connect();
