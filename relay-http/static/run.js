// The page of a run can be read without this. With it, what happens is added as it does, and times are those of the reader's zone.

const ROWS_MAX = 400; // on the page; older ones are found under "Earlier"
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 15_000;

const part = (id) => document.getElementById(id);
const [rows, live, newest, earlier] = ["rows", "live", "newest", "earlier"].map(part);
const main = rows.closest("main");

ownTimes(document);
for (const image of rows.querySelectorAll("img")) if (image.complete && image.naturalWidth === 0) gone(image);
rows.addEventListener("error", ({ target }) => gone(target), true);
if ("after" in main.dataset) follow(Number(main.dataset.after));

function ownTimes(within) {
  const today = new Date().toDateString();
  for (const time of within.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const day = at.toDateString() === today ? {} : { day: "numeric", month: "short" };
    time.textContent = at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
    time.title = at.toLocaleString([], { dateStyle: "full", timeStyle: "long" });
  }
}

/** Pictures are kept for a while only. */
function gone(image) {
  const line = document.createElement("p");
  line.className = "muted";
  line.textContent = "This picture is no longer kept.";
  (image.closest("a") ?? image).replaceWith(line);
}

/** Add what comes after that place, from whichever relay, until the run is over. */
function follow(last) {
  let wait = RETRY_FIRST_MS;
  keepInView();
  open();

  function open() {
    const address = new URL(`${location.pathname}/rows${location.search}`, location.href);
    address.searchParams.set("after", last);
    const source = new EventSource(address);
    source.onopen = () => {
      wait = RETRY_FIRST_MS;
      tell("live", "good");
    };
    source.onmessage = ({ data, lastEventId }) => add(Number(lastEventId), data);
    source.addEventListener("end", () => {
      source.close();
      over();
    });
    source.onerror = () => {
      tell("not reached, trying again", "warn");
      // After an answer that is no stream the browser gives up.
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(open, wait);
      wait = Math.min(wait * 2, RETRY_MOST_MS);
    };
  }

  // The relay has made HTML of it in which nothing that was written acts.
  function add(cursor, html) {
    if (cursor <= last) return;
    last = cursor;
    const added = document.createElement("template");
    added.innerHTML = html;
    const standing = added.content.querySelector("#standing");
    if (standing) become(standing);
    ownTimes(added.content);
    rows.append(added.content);
    part("nothing")?.remove();
    while (rows.childElementCount > ROWS_MAX) rows.firstElementChild.remove();
    if (rows.childElementCount === ROWS_MAX) {
      const address = new URL(earlier.href);
      address.searchParams.set("before", rows.firstElementChild.dataset.cursor);
      earlier.href = address.href;
      earlier.hidden = false;
    }
  }
}

/** In its place, so that those who cannot see it are told. */
function become(next) {
  const standing = part("standing");
  next.remove();
  if (standing.innerHTML === next.innerHTML) return;
  standing.className = next.className;
  standing.replaceChildren(...next.childNodes);
}

function tell(text, tone) {
  live.replaceChildren(Object.assign(document.createElement("span"), { className: `badge ${tone}`, textContent: text }));
}

function over() {
  tell("That was all: the run is over.", "");
}

/** Whoever is at the end stays there; others are told that there is more. */
function keepInView() {
  const page = document.scrollingElement;
  const isAtEnd = () => page.scrollHeight - page.scrollTop - innerHeight < 48;
  const toEnd = () => page.scrollTo({ top: page.scrollHeight });
  let following = !location.hash;

  addEventListener("scroll", () => {
    following = isAtEnd();
    if (following) newest.hidden = true;
  }, { passive: true });
  newest.classList.add("floating", "primary");
  newest.hidden = true;
  newest.onclick = (event) => {
    event.preventDefault();
    toEnd();
  };
  new ResizeObserver(() => {
    if (following) toEnd();
    else newest.hidden = isAtEnd();
  }).observe(rows);
}
