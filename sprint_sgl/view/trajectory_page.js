"use strict";
// Index of a page of runs: search, filter, sort; one run at a time with previous and next. Without it all runs show.

const byId = (id) => document.getElementById(id);
const articles = [...document.querySelectorAll("article")];
const rows = [...document.querySelectorAll("#index tbody tr")];
const KEEPS = {
  all: () => true,
  right: (row) => row.dataset.verdict === "right",
  wrong: (row) => row.dataset.verdict === "wrong",
  repaired: (row) => row.dataset.repaired === "yes",
  slow: (row) => row.dataset.slow === "yes",
};

const shownRows = () => [...document.querySelectorAll("#index tbody tr:not([hidden])")];
const articleOf = (row) => byId(row.dataset.run);
let current = null;

function show(article, scroll) {
  current = article;
  for (const each of articles) each.hidden = each !== article;
  for (const row of rows) row.toggleAttribute("aria-current", articleOf(row) === article);
  const order = shownRows().map(articleOf);
  const place = order.indexOf(article);
  byId("place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === order.length - 1;
  if (scroll) article.scrollIntoView();
}

function step(by) {
  const order = shownRows().map(articleOf);
  const target = order[order.indexOf(current) + by];
  if (target) location.hash = target.id;
}

function narrow() {
  const words = byId("search").value.toLowerCase();
  const keeps = KEEPS[byId("only").value];
  for (const row of rows) row.hidden = !keeps(row) || !row.textContent.toLowerCase().includes(words);
  const left = shownRows().map(articleOf);
  byId("none").hidden = left.length > 0;
  show(left.includes(current) || !left.length ? current : left[0], false);
}

function sort(header) {
  const column = [...header.parentNode.children].indexOf(header);
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const each of header.parentNode.children) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const value = (row) => row.children[column].textContent.replaceAll(",", "");
  const compare = header.className === "n" ? (a, b) => Number(value(a)) - Number(value(b)) : (a, b) => value(a).localeCompare(value(b));
  rows.sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
  document.querySelector("#index tbody").append(...rows);
  if (current) show(current, false);
}

function fromHash() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  const article = target?.closest("article");
  if (article) {
    show(article, false);
    target.scrollIntoView();
  }
}

if (byId("index")) {
  for (const header of document.querySelectorAll("#index th")) {
    const button = document.createElement("button");
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header));
    header.replaceChildren(button);
  }
  byId("search").addEventListener("input", narrow);
  byId("only").addEventListener("change", narrow);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  addEventListener("hashchange", fromHash);
  byId("tools").hidden = false;
  byId("steps").hidden = false;
  show(articles[0], false);
  fromHash();
}
