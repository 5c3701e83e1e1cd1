// What the console shows of texts and of code: both become DOM nodes, never HTML.

const LINES_SHOWN = 40; // of a file, before "Show all"

/** A new element: its tag, its properties, its children (nodes or strings). */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// What is not seen, or makes others be read differently from what they are, is written out wherever somebody else wrote it: all
// that the relay's `is_deceptive` names, but for a tab and the end of a line.
const DECEPTIVE =
  /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}\u{fe00}-\u{fe0e}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{e0000}-\u{e0fff}]/gu;
const codePoint = (sign) => `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
const writtenOut = (sign) => (sign === "\r" ? "␍" : codePoint(sign));
export const reveal = (text) => text.replace(DECEPTIVE, writtenOut);

/** In prose, what joins emoji, or letters of scripts that are written joined, belongs to how they are written. */
const readable = (text) => text.replace(DECEPTIVE, (sign, at) => (joins(sign, at, text) ? sign : writtenOut(sign)));
const joins = (sign, at, text) => "\u200c\u200d".includes(sign) && isSeen(text[at - 1]) && isSeen(text[at + 1]);
const isSeen = (sign) => sign > "\x7f" && sign.trim() !== "" && reveal(sign) === sign;

// ---- Text: WhatsApp markup ------------------------------------------------------------------------------------------

// Code, a link, or a run between two equal markers that hug it and do not touch a word outside (snake_case stays). A link is all
// of ASCII, which looks like nothing else, and never the half of an address, which leads elsewhere. `**` is not WhatsApp's, but
// agents write it. The bounds keep a line of a thousand lone markers cheap.
const INLINE =
  /`([^`]+)`|(?<![\p{L}\p{N}])(https?:\/\/[!#-;=?-[\]-_a-~]{1,2000}(?![!#-;=?-[\]-_a-~\p{L}\p{N}]))|(?<![\p{L}\p{N}*_~])(\*\*?|_|~)(?!\s|\3)(.{1,999}?)(?<!\s|\3)\3(?![\p{L}\p{N}])/gu;
const TAG_OF_MARKER = { "*": "strong", "**": "strong", _: "em", "~": "s" };

/** The nodes of one line, every sign to be seen. */
function inline(line) {
  const nodes = [];
  let end = 0;
  for (const { index, 0: whole, 1: code, 2: address, 3: marker, 4: marked } of line.matchAll(INLINE)) {
    nodes.push(readable(line.slice(end, index)));
    end = index + whole.length;
    if (code) nodes.push(make("code", {}, reveal(code)));
    else if (address) nodes.push(...link(address));
    else nodes.push(make(TAG_OF_MARKER[marker], {}, ...inline(marked)));
  }
  return [...nodes, readable(line.slice(end))];
}

/** A link, and the punctuation behind it that belongs to the sentence. */
function link(address) {
  const href = address.replace(address.includes("(") ? /[.,;:!?'*_~\]}]+$/ : /[.,;:!?'*_~\]})]+$/, "");
  return [make("a", { href, target: "_blank", rel: "noopener" }, href), address.slice(href.length)];
}

/** The blocks of a text: paragraphs, lists, quotes and ``` blocks. */
export function markup(text) {
  // With a capture group, split() puts what was between the fences at the odd places.
  const pieces = text.split(/```(?:\w*\n)?([\s\S]*?)\n?```/);
  return pieces.flatMap((piece, at) => (at % 2 ? [make("pre", { tabIndex: 0 }, reveal(piece))] : paragraphs(piece)));
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

// What the lines from `diff --git` to the first hunk say about a file.
const DIFF_HEADERS = [
  [/^diff --git "?a\/(.*?)"? "?b\/\1"?$/s, (file, name) => { file.name = name; }],
  [/^\+\+\+ "?b\/(.*?)"?\t?$/s, (file, name) => { file.name = name; }],
  [/^rename to "?(.*?)"?$/s, (file, name) => { file.name = name; }],
  [/^rename from "?(.*?)"?$/s, (file, name) => remark(file, `renamed from ${name}`)],
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

export function diffView(diff) {
  const view = make("div", { className: "diff", ariaLive: "off" });
  for (const { name, change, rows } of parseDiff(diff)) {
    const label = make("span", { className: "name", title: reveal(name) }, make("bdi", {}, reveal(name)));
    const heading = make("summary", {}, label, make("span", { className: "change" }, change));
    for (const [kind, sign] of [["add", "+"], ["del", "−"]]) {
      const count = rows.filter((row) => row.kind === kind).length;
      if (count > 0) heading.append(make("span", { className: `count ${kind}` }, `${sign}${count}`));
    }
    view.append(make("details", { className: "file", open: true }, heading, ...excerpt(name, rows)));
  }
  return view;
}

export function fileView(text) {
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
  const box = make("div", { className: "box", tabIndex: 0, role: "group", ariaLabel: reveal(label) }, lines);
  if (rows.length <= LINES_SHOWN) return [box];
  const all = make("button", { type: "button", className: "all" }, `Show all ${rows.length} lines`);
  all.onclick = () => {
    lines.append(...rows.slice(LINES_SHOWN).map(lineView));
    all.remove();
    box.focus({ preventScroll: true });
  };
  return [box, all];
}
