// Filters and sorting. Without this script the page shows everything, unsorted.
"use strict";
const FIRST = 12; // examples shown before "more" is asked for

function matches(text, words) {
  return words.every((word) => text.includes(word));
}

function words(input) {
  return input.value.toLowerCase().split(/\s+/).filter(Boolean);
}

for (const box of document.querySelectorAll(".answers")) {
  const items = [...box.querySelectorAll(".examples > li")];
  const texts = items.map((item) => item.textContent.toLowerCase());
  const controls = box.querySelector(".controls");
  const [task, outcome] = controls.querySelectorAll("select");
  const search = controls.querySelector("input");
  const count = controls.querySelector("output");
  const more = box.querySelector(".more");
  let most = FIRST;
  const show = () => {
    const asked = words(search);
    const found = items.filter((item, place) =>
      (!task.value || item.dataset.task === task.value) &&
      (!outcome.value || item.dataset.outcome === outcome.value) && matches(texts[place], asked));
    const shown = new Set(found.slice(0, most));
    for (const item of items) item.hidden = !shown.has(item);
    count.textContent = `${found.length} of ${items.length} examples`;
    more.hidden = found.length <= most;
    more.textContent = `Show ${found.length - most} more`;
  };
  for (const control of [task, outcome, search]) {
    control.addEventListener("input", () => { most = FIRST; show(); });
  }
  more.addEventListener("click", () => {
    const next = items.findIndex((item) => item.hidden);
    most = Infinity;
    show();
    if (next >= 0) items[next].querySelector("summary").focus();
  });
  controls.hidden = false;
  show();
}

for (const box of document.querySelectorAll(".sortable")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const controls = box.querySelector(".controls");
  const search = controls.querySelector("input");
  const count = controls.querySelector("output");
  const filter = () => {
    const asked = words(search);
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !matches(texts[place], asked);
      shown += !row.hidden;
    });
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  search.addEventListener("input", filter);
  const heads = [...box.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column));
  });
  const value = (row, column) => {
    const cell = row.cells[column];
    const raw = cell.dataset.value ?? cell.textContent;
    return raw.trim() !== "" && Number.isFinite(Number(raw)) ? Number(raw) : raw;
  };
  const sort = (head, column) => {
    const number = head.classList.contains("number");
    const now = head.getAttribute("aria-sort");
    const up = now ? now !== "ascending" : !number; // numbers: largest first
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const missing = (one) => number && typeof one !== "number";
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b); // what was not measured stands last
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return up ? order : -order;
    });
    body.append(...keyed.map(([, row]) => row));
  };
  controls.hidden = false;
  filter();
}

// Paper cannot be clicked: what is not very long is opened before printing and closed again after it.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .long)")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
