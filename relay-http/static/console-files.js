// Files that are attached to the message being written: chosen, pasted or dropped. Each is uploaded at once, by itself, so that
// sending is quick and a file that can't be used is known before the message is sent.

import { make, reveal } from "./console-text.js";

const FILES_MAX = 10; // of one message
const FILE_BYTES_MAX = 8 * 1024 * 1024;
const UPLOAD_TIMEOUT_MS = 120_000;
const RETRY_PAUSES_MS = [1_000, 3_000];
const PASSING = [502, 503, 504]; // worth another try

const list = document.getElementById("attached");
const chooser = document.getElementById("chooser");
const told = document.getElementById("told");
const items = []; // { name, element, state: "uploading" | "ready" | "failed", id, abort }
let settled = () => {};

/** Said to screen readers; shown as well where nothing else on the page shows it. */
function tell(text, isShown = false) {
  told.textContent = reveal(text);
  told.classList.toggle("unseen", !isShown);
}

/** What is attached, for the message; the list is empty from then on. */
export function take() {
  const taken = items.splice(0);
  for (const item of taken) discard(item);
  list.hidden = true;
  tell("");
  return taken.map(({ id, name }) => ({ id, name }));
}

export const isEmpty = () => items.length === 0;
export const isUploading = () => items.some(({ state }) => state === "uploading");

/** The first file that stands in the way of sending is shown, and said. */
export function hasFailed() {
  const failed = items.find(({ state }) => state === "failed");
  if (failed) {
    failed.element.querySelector(".remove").focus();
    tell(`${failed.name} can't be sent. Remove it first.`, true);
  }
  return Boolean(failed);
}

/** Calls `done` once nothing is being uploaded. */
export function whenUploaded(done) { settled = done; }

function discard(item) {
  item.abort.abort();
  const image = item.element.querySelector("img");
  if (image) URL.revokeObjectURL(image.src);
  item.element.remove();
}

function remove(item) {
  const at = items.indexOf(item);
  if (at < 0) return;
  items.splice(at, 1);
  discard(item);
  list.hidden = isEmpty();
  tell(`${item.name} is removed.`);
  const next = items[Math.min(at, items.length - 1)];
  (next ? next.element.querySelector(".remove") : document.getElementById("composer")).focus();
}

function add(files) {
  for (const file of files) {
    if (items.length >= FILES_MAX) {
      tell(`At most ${FILES_MAX} files go with one message.`, true);
      break;
    }
    const item = { name: file.name || "file", state: "uploading", abort: new AbortController() };
    item.element = view(item, file);
    items.push(item);
    list.append(item.element);
    list.hidden = false;
    tell(`${item.name} is attached.`);
    upload(item, file);
  }
}

function view(item, file) {
  const picture = /^image\/(jpeg|png|webp|gif)$/.test(file.type)
    ? make("img", { src: URL.createObjectURL(file), alt: "" })
    : make("span", { className: "kind", ariaHidden: "true" }, /\.(\w{1,4})$/.exec(item.name)?.[1] ?? "file");
  const remover = make("button", { type: "button", className: "remove", ariaLabel: `Remove ${reveal(item.name)}` }, "✕");
  remover.onclick = () => remove(item);
  const label = make("span", { className: "label" }, make("bdi", { className: "name" }, reveal(item.name)));
  return make("li", { className: "uploading" }, picture, label, remover);
}

async function upload(item, file) {
  const fault = file.size > FILE_BYTES_MAX ? "Your file is too large: at most 8 MB." : await post(item, file);
  if (!items.includes(item)) return;
  item.state = item.id ? "ready" : "failed";
  item.element.className = item.state;
  if (!item.id) {
    item.element.querySelector(".label").append(make("span", { className: "fault" }, fault));
    tell(`${item.name}: ${fault}`);
  }
  if (isUploading()) return;
  const done = settled;
  settled = () => {};
  done();
}

/** Sets the item's id, or returns why there is none. */
async function post(item, file) {
  for (const pause_ms of [...RETRY_PAUSES_MS, null]) {
    const response = await fetch(`/console/files${location.search}`, {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: file,
      signal: AbortSignal.any([item.abort.signal, AbortSignal.timeout(UPLOAD_TIMEOUT_MS)]),
    }).catch(() => ({ status: 503 }));
    if (response.status === 201) {
      item.id = (await response.json()).id;
      return null;
    }
    if (response.status === 401) return "You are signed out.";
    if ([413, 415, 429].includes(response.status)) return (await response.text()).trim();
    if (item.abort.signal.aborted || !PASSING.includes(response.status) || pause_ms === null) break;
    await new Promise((resolve) => { setTimeout(resolve, pause_ms); });
  }
  return "It could not be uploaded. Attach it again.";
}

document.getElementById("attach").onclick = () => chooser.click();
chooser.onchange = () => {
  add(chooser.files);
  chooser.value = "";
  document.getElementById("composer").focus();
};
document.addEventListener("paste", (event) => {
  const { files, types } = event.clipboardData;
  // Office programs put a picture of a copied text beside it.
  if (!files.length || (types.includes("text/html") && types.includes("text/plain"))) return;
  event.preventDefault();
  add(files);
});
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  add(event.dataTransfer.files);
});
