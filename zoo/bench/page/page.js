"use strict";
// Sorting: a click on a column's name; rows without a value stay last.
const cell = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent;
document.querySelectorAll("table.sorts").forEach(table => table.tHead.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const head = button.closest("th"), i = head.cellIndex, body = table.tBodies[0], before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : head.dataset.better === "higher";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const order = (a, b) => "text" in head.dataset ? a.localeCompare(b, "en", {numeric: true}) : a - b;
  const rows = [...body.rows].sort((a, b) => {
    const x = cell(a, i), y = cell(b, i);
    if (x === "" || y === "") return (x === "") - (y === "");
    return down ? -order(x, y) : order(x, y);
  });
  body.append(...rows);
}));
// Filters: a field hides what does not hold its words; boxes hide groups of columns.
document.querySelectorAll("input[data-filters]").forEach(field => field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  document.querySelectorAll(field.dataset.filters).forEach(one => {
    const text = one.textContent.toLowerCase();
    one.hidden = !words.every(word => text.includes(word));
  });
}));
document.querySelectorAll("input[data-group]").forEach(box => {
  const show = () => document.querySelectorAll(`#${box.dataset.table} [data-in="${box.dataset.group}"]`).forEach(one => { one.hidden = !box.checked });
  box.addEventListener("change", show);
  show();
});
// Pictures: a button shows the original in place of the reconstruction.
document.querySelectorAll("button[data-original]").forEach(button => {
  const picture = button.closest("figure").querySelector("img"), own = picture.getAttribute("src"), words = picture.alt;
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    picture.src = on ? button.dataset.original : own;
    picture.alt = on ? "original" : words;
  });
});
// Sound: one player at a time.
document.addEventListener("play", event => {
  document.querySelectorAll("audio").forEach(other => { if (other !== event.target) other.pause() });
}, true);
// A link to a card opens it.
const open = () => {
  const aim = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (aim && aim.tagName === "DETAILS") { aim.hidden = false; aim.open = true; aim.scrollIntoView() }
};
addEventListener("hashchange", open);
open();
const theme = document.getElementById("theme");
theme?.addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
