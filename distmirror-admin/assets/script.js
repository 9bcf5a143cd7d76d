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

function showProgress(place, progress) {
  const bar = place.querySelector("progress");
  const text = place.querySelector("[data-live-text]");
  if (!progress) return;
  if (progress.total) {
    bar.max = progress.total;
    bar.value = progress.bytes;
  } else {
    bar.removeAttribute("value");
  }
  text.textContent = progress.total ? `${size(progress.bytes)} of ${size(progress.total)}` : size(progress.bytes);
}

// Asks once a second while the page is seen; what is fetched or failed is shown by loading the page again.
async function follow(place) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (document.hidden) continue;
    try {
      const answer = await fetch(`/api/v1/artifacts/${place.dataset.live}`);
      if (!answer.ok) continue;
      const artifact = await answer.json();
      if (artifact.state !== "pending" && artifact.state !== "fetching") {
        location.reload();
        return;
      }
      showProgress(place, artifact.progress);
    } catch {
      // The server is away; the next attempt may find it.
    }
  }
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

// What was done is said once: not again when the page is loaded again.
const address = new URL(location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}

for (const place of document.querySelectorAll("[data-live]")) follow(place);

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = time.textContent;
  time.textContent = ago(time.dateTime);
}

for (const box of document.querySelectorAll("[data-tick-all]")) {
  box.hidden = false;
  box.addEventListener("change", () => {
    for (const other of document.querySelectorAll("input[name=ids]")) other.checked = box.checked;
  });
}
