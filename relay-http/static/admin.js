// Keeps the parts of a page that are marked `data-live` fresh while somebody looks at it. Without it the page is as it was when
// it was loaded.

const INTERVAL_MS = 10_000;
const fresh = document.querySelector("#fresh");

function tell(isWell) {
  if (!fresh) return;
  fresh.hidden = false;
  fresh.textContent = isWell ? "live" : "not reached";
  fresh.className = isWell ? "badge good" : "badge bad";
}

// What somebody is at work in stays as it is: a field, a button about to be pressed or held down, an open part, a text being selected.
function isInUse(part) {
  const selection = getSelection();
  return (
    part.contains(document.activeElement) ||
    part.matches(":active") ||
    part.querySelector("details[open]") !== null ||
    (selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode))
  );
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { redirect: "error" });
    // The session has ended: here is now the form that asks for the token.
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return tell(false);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (next && !isInUse(part) && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
    }
    tell(true);
  } catch {
    tell(false);
  }
}

// On a phone the parts are wider than the screen.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// What was done is said once, also when the page is loaded again.
const here = new URL(location.href);
if (here.searchParams.delete("done"), here.href !== location.href) history.replaceState(null, "", here);

// A page that came by POST, with what a VM said, is not asked for again.
const path = location.pathname;
if (document.querySelector("[data-live]") && !path.endsWith("/vm")) {
  tell(true);
  setInterval(() => document.hidden || refresh(), INTERVAL_MS);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
}
