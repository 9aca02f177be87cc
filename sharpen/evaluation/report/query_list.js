"use strict";
// The list of every query: search, filter, order, and what each model returned side by side.
// Texts of the data become text nodes only; nothing is fetched or stored.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const section = document.getElementById("every-query");
  const controls = section.querySelector(".controls");
  const list = section.querySelector(".found");
  const status = section.querySelector("[role=status]");
  const more = section.querySelector(".more-rows");
  const [search, show, order, against] = ["q-search", "q-show", "q-order", "q-against"].map(id => document.getElementById(id));
  const last = data.systems.length - 1, PAGE = 50;
  let found = [], shown = 0, texts = null;

  function make(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }
  const number = value => value.toFixed(3).replace(/^(-?)0\./, "$1.").replace("-", "\u2212");
  const signed = value => (value > 0 ? "+" : value < 0 ? "" : "\u00b1") + number(value);
  const reference = () => against ? Number(against.value) : data.main;
  const change = query => reference() < 0 ? 0 : query[3][last] - query[3][reference()];
  const first = (query, system) => query[4][system].length ? String(query[4][system][0]) : "none";

  function hit(position, [index, grade, score], wanted) {
    const [id, text, code] = data.passages[index];
    const meta = make("div", "meta", make("span", "", wanted ? "" : String(position + 1)), make("span", "", wanted ? "" : number(score)),
      make("span", "id", id));
    const relevant = wanted || grade >= data.level;
    if (relevant) meta.append(make("span", "mark", data.graded && grade > 0 ? `relevant, grade ${grade}` : "relevant"));
    else if (grade >= 0) meta.append(make("span", "grade", grade ? `grade ${grade}` : "judged: not relevant"));
    const body = text ? [make(code ? "pre" : "div", "text", text)] : [];
    if (code && body.length) body[0].tabIndex = 0;
    return make("div", relevant ? "hit relevant" : "hit", meta, ...body);
  }

  function inside(query) {
    const [, , , values, ranks, relevant, hits, wanted] = query;
    const columns = hits.map((found, system) => make("div", "hits",
      make("h3", "", `${data.systems[system]}: ${data.metric} ${number(values[system])}`),
      make("p", "small", `${relevant} relevant; at rank ${ranks[system].length ? ranks[system].join(", ") : "none of those retrieved"}`),
      ...(found.length ? found.map((one, position) => hit(position, one, false)) : [make("p", "small", "nothing found")])));
    const missed = wanted.map(index => hit(0, [index, -1, 0], true));
    return [...(missed.length ? [make("div", "hits", make("h3", "", "A relevant passage that none of them shows"), ...missed)] : []),
      make("div", "side", ...columns)];
  }

  function row(query) {
    const compared = reference();
    const ranks = (compared < 0 ? [last] : [compared, last]).map(system => first(query, system)).join(" \u2192 ");
    const difference = change(query);
    const delta = make("span", "delta" + (compared < 0 || !difference ? "" : difference > 0 ? " up" : " down"),
      compared < 0 ? number(query[3][last]) : signed(difference));
    const summary = make("summary", "", make("span", "q", query[1]), make("span", "rank", `${query[2] ? query[2] + " \u00b7 " : ""}rank ${ranks}`), delta);
    const body = make("div", "inside");
    const details = make("details", "query", summary, body);
    details.addEventListener("toggle", () => {
      if (details.open && !body.firstChild) body.append(...inside(query));
    });
    return make("li", "", details);
  }

  function extend() {
    list.append(...found.slice(shown, shown + PAGE).map(row));
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown >= found.length;
    status.textContent = `${found.length.toLocaleString("en")} of ${data.queries.length.toLocaleString("en")} queries` +
      (shown < found.length ? `, ${shown.toLocaleString("en")} shown` : "");
  }

  // what is searched of a query: its id, its text, its label, and the passages that are shown of it
  function searched(query) {
    const indices = new Set([...query[6].flat().map(one => one[0]), ...query[7]]);
    return [query[0], query[1], query[2], ...[...indices].map(index => data.passages[index].slice(0, 2).join("\n"))].join("\n").toLowerCase();
  }

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) texts = new Map(data.queries.map(query => [query, searched(query)]));
    const tests = {
      all: () => true,
      better: query => change(query) > 0,
      worse: query => change(query) < 0,
      equal: query => change(query) === 0,
      missed: query => !query[4][last].some(rank => rank <= 10),
    };
    const orders = {
      gain: (one, other) => change(other) - change(one),
      loss: (one, other) => change(one) - change(other),
      low: (one, other) => one[3][last] - other[3][last],
      id: () => 0,
    };
    found = data.queries.filter(query => tests[show.value](query) && words.every(word => texts.get(query).includes(word)));
    found.sort(orders[order.value]);
    shown = 0;
    list.replaceChildren();
    extend();
  }

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  for (const control of [show, order, against]) if (control) control.addEventListener("change", update);
  more.addEventListener("click", () => {
    const next = shown;
    extend();
    list.children[next].querySelector("summary").focus();
  });
  controls.hidden = false;
  section.querySelector(".without-script").hidden = true;
  update();
})();
