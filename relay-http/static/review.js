// The review page works without this. With it, the page learns of what has become of the diff while it is open, and brings the
// next rows as one scrolls.

const main = document.querySelector("main.review");
if (main) {
  follow(main);
  goOn(document.getElementById("rows"));
  sendOnce(main);
}

/** Ask what has become of the diff for as long as that can change, and only while somebody looks. */
function follow(main) {
  const LOOK_MS = main.dataset.state === "open" ? 10000 : 2000;
  const answered = main.dataset.state === "answered" ? "?answered" : "";
  let passing = main.hasAttribute("data-passing");

  async function look() {
    if (!passing || document.visibilityState !== "visible") return;
    try {
      const response = await fetch(`${main.dataset.signed}/state${answered}`, { cache: "no-store" });
      const told = await response.json();
      // A relay that is unwell says nothing about the diff.
      if (response.status < 500) tell(told);
    } catch {
      // No network, or not ours: the next look may tell.
    }
  }

  function tell(told) {
    passing = told.passing === true;
    if (told.state === main.dataset.state && told.state !== "open") return;
    const standing = document.getElementById("standing");
    if (told.state !== main.dataset.state) {
      standing.className = `notice ${told.tone ?? "warn"}`;
      main.dataset.state = told.state;
      close(told.title);
    }
    standing.replaceChildren(element("strong", told.title), element("p", told.detail));
    if (told.link) {
      const link = element("a", "Open the pull request");
      link.href = told.link;
      link.rel = "noreferrer noopener";
      const line = element("p", "");
      line.append(link);
      standing.append(line);
    }
  }

  function close(reason) {
    const why = document.getElementById("why");
    if (!why) return;
    why.textContent = `${reason}. These buttons do nothing any more.`;
    why.hidden = false;
    for (const button of main.querySelectorAll(".answer button")) button.disabled = true;
    // What was written can still be copied.
    for (const text of main.querySelectorAll(".answer textarea")) text.readOnly = true;
  }

  setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);
}

/** Bring the next rows when their place comes near. */
function goOn(rows) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) load(entry.target);
  }, { rootMargin: "1500px" });

  function watch() {
    const more = rows.querySelector("a.more");
    if (more) watcher.observe(more);
  }

  async function load(more) {
    watcher.unobserve(more);
    try {
      const response = await fetch(`${main.dataset.signed}/rows?row=${more.dataset.from}`, { cache: "no-store" });
      // The link itself still leads there.
      if (!response.ok) return;
      const next = document.createElement("template");
      next.innerHTML = await response.text();
      const last = rows.querySelector("details.file:last-of-type");
      const first = next.content.querySelector("details.file");
      if (last && first && last.dataset.file === first.dataset.file) {
        last.querySelector("tbody")?.append(...(first.querySelector("tbody")?.children ?? []));
        first.remove();
      }
      more.replaceWith(next.content);
      watch();
    } catch {
      // The link itself still leads there.
    }
  }

  watch();
}

/** An answer is sent once, however often a button is pressed. */
function sendOnce(main) {
  for (const form of main.querySelectorAll(".answer form")) {
    form.addEventListener("submit", () => {
      // After the browser has taken what is sent: a disabled button sends no value.
      setTimeout(() => {
        for (const button of main.querySelectorAll(".answer button")) button.disabled = true;
      });
    });
  }
  // Back from another page, the buttons are to be as they were.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
