// What pages do more when scripts run: live progress, copying, times as people say them, ticking all. Pages work without.
"use strict";

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit === 0 || bytes >= 100 ? bytes.toFixed(0) : bytes.toFixed(1)} ${units[unit]}`;
}

function ago(moment) {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  const steps = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];
  let amount = seconds;
  for (const [unit, next] of steps) {
    if (Math.abs(amount) < next) return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(amount), unit);
    amount /= next;
  }
  return moment;
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) time.textContent = ago(time.dateTime);
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without https there is no clipboard interface: select the text and use the old command.
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

// Makes a part of the page, or all of it, as it is with scripts.
function prepare(root) {
  showTimes(root);
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
}

function showProgress(place, progress) {
  const bar = place.querySelector("progress");
  const text = place.querySelector("[data-live-text]");
  if (!bar || !text || !progress) return;
  if (progress.total) {
    bar.max = progress.total;
    bar.value = progress.bytes;
  } else {
    bar.removeAttribute("value");
  }
  text.textContent = progress.total ? `${size(progress.bytes)} of ${size(progress.total)}` : size(progress.bytes);
}

// Whether the artifact that is shown here has come further than what is shown of it.
async function hasMoved(place) {
  const answer = await fetch(`/api/v1/artifacts/${place.dataset.live}`);
  if (!answer.ok) return false;
  const artifact = await answer.json();
  showProgress(place, artifact.progress);
  const shown = place.dataset;
  // Of an image that is present, an attempt to bring more of it may end without a change in anything else.
  const ended = shown.running && !artifact.progress;
  if (artifact.progress) shown.running = "yes";
  const differs = (name, value) => String(value ?? "") !== shown[name];
  return ended || differs("state", artifact.state) || differs("attempts", artifact.attempts)
    || differs("whole", artifact.whole) || differs("damage", artifact.damage) || differs("next", artifact.next_attempt_at);
}

async function anyHasMoved() {
  for (const place of document.querySelectorAll("[data-live]")) {
    if (await hasMoved(place)) return true;
  }
  return false;
}

// Whether somebody sends a form, or has chosen a file to send: loading the page again would undo that.
let isSending = false;
document.addEventListener("submit", () => { isSending = true; });
addEventListener("pageshow", () => { isSending = false; });

function isInUse() {
  return isSending || [...document.querySelectorAll("input[type=file]")].some((input) => input.files.length > 0);
}

// Replaces the parts that may have changed by what the server says now; what somebody is selecting or using is left alone.
async function freshen() {
  const parts = [...document.querySelectorAll("[data-fresh]")];
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (parts.length === 0 || parts.some((part) => !page.getElementById(part.id))) {
    location.reload();
    return;
  }
  for (const part of parts) {
    if (part.contains(document.activeElement) || !getSelection().isCollapsed) continue;
    const fresh = page.getElementById(part.id);
    prepare(fresh);
    part.replaceWith(fresh);
  }
}

// Looks once a second while the page is seen: at what is under way, and now and then at parts that say after how many seconds.
async function follow() {
  for (let seconds = 1; ; seconds += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (document.hidden || isInUse()) continue;
    if (seconds % 20 === 0) showTimes(document);
    const every = Number(document.querySelector("[data-fresh]")?.dataset.fresh || Infinity);
    try {
      if (await anyHasMoved() || seconds % every === 0) await freshen();
    } catch {
      // The server is away; the next attempt may find it.
    }
  }
}

// Looks at what somebody has just typed, before it is declared. What came later than something newer is dropped.
let looks = 0;
async function look(place) {
  const form = place.closest("form");
  const number = looks += 1;
  // Whoever leaves a field by pressing a button wants something else.
  await new Promise((resolve) => setTimeout(resolve, 300));
  if (isSending || number !== looks) return;
  const fields = new URLSearchParams(new FormData(form));
  fields.set("look", "now");
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body: fields });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(place.id);
    if (number === looks && fresh) place.replaceChildren(...fresh.childNodes);
  } catch {
    // It was only a look.
  } finally {
    if (number === looks) place.removeAttribute("aria-busy");
  }
}

function countTicked() {
  const ticked = document.querySelectorAll("input[name=ids]:checked").length;
  for (const place of document.querySelectorAll("[data-ticked]")) {
    place.textContent = ticked === 0 ? "ticked ones" : ticked === 1 ? "ticked one" : `${ticked} ticked ones`;
  }
}

// What was done is said once: not again when the page is loaded again.
const address = new URL(location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}

for (const box of document.querySelectorAll("[data-tick-all]")) {
  box.hidden = false;
  box.addEventListener("change", () => {
    for (const other of document.querySelectorAll("input[name=ids]")) other.checked = box.checked;
  });
}
document.addEventListener("change", countTicked);

for (const place of document.querySelectorAll("[data-look]")) {
  place.closest("form").addEventListener("change", (event) => {
    if (place.dataset.look.split(" ").includes(event.target.name)) look(place);
  });
}

prepare(document);
countTicked();
follow();
