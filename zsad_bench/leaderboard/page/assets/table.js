// Sortable tables of numbers. One of them is a single stop of the Tab key; arrows move inside it.
const sorting = (text) => ({ column: text.slice(0, text.lastIndexOf(":")), way: text.slice(text.lastIndexOf(":") + 1) });

// columns: [{id, title, text: true where it is not a number, plain: true where it opens no panel of rows}];
// value(line, id) -> text, or a cell; change(sort) on a click; remarks(line) -> [mark, text] of each remark beside the
// name of its method.
function sortable({ id, columns, lines, value, sort, change, number, paint, remarks }) {
  const { column, way } = sorting(sort);
  const known = columns.find((one) => one.id === column);
  const sorted = known ? ordered(lines, (line) => key(value(line, column)), way) : lines;
  const head = columns.map((one) => {
    const isSorted = known === one;
    const next = !isSorted ? (one.text ? "up" : "down") : way === (one.text ? "up" : "down") ? (one.text ? "down" : "up") : "";
    const click = () => change(next ? `${one.id}:${next}` : "");
    const arrow = el("span", { "aria-hidden": "true", class: "arrow" }, isSorted ? (way === "up" ? "▲" : "▼") : "");
    return el("th", { scope: "col", class: one.text ? "text" : null,
      "aria-sort": isSorted ? (way === "up" ? "ascending" : "descending") : "none" },
    el("button", { type: "button", onclick: click, "data-id": `${id}:head:${one.id}` }, one.title, arrow));
  });
  const body = sorted.map((line) => el("tr", { class: LINES[line].sanity ? "sanity" : null },
    columns.map((one, place) => drawn(id, line, one, place, value(line, one.id), number, paint, remarks))));
  const made = el("table", { "data-table": id, onkeydown: moved },
    el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  made.querySelector("tbody .number")?.setAttribute("tabindex", "0");
  return made;
}

// What stands behind the name of a line's method. A remark's text is its tooltip, and in the notes below the table.
function nameMarks(line, remarks) {
  const sanity = LINES[line].sanity ? [" ", el("em", { class: "quiet" }, "sanity check")] : [];
  return [remarks.map(([mark, text], i) => [i ? "," : "", el("abbr", { class: "remark", title: text }, mark)]), sanity];
}

function drawn(id, line, column, place, value, number, paint, remarks) {
  if (column.text || column.plain || !Array.isArray(value)) {
    const behind = place === 0 ? nameMarks(line, remarks(line)) : [];
    const text = value === undefined ? "" : Array.isArray(value) ? value[0] : String(value);
    return el(place === 0 ? "th" : "td", { scope: place === 0 ? "row" : null, class: column.text ? "text" : null }, text, behind);
  }
  const name = number(line, column.id);
  const button = el("button", { type: "button", class: value[3] ? "number best" : "number", tabindex: "-1",
    "data-number": name, "data-id": `${id}:${name}` }, value[0]);
  const made = el("td", {}, button);
  paint?.(made, value, column.id);
  return made;
}

// Of the remarks of a line on numbers of some tables; a mark means the same in all of them.
const remarksIn = (tables) => (line) => Object.entries(Object.assign({}, ...tables.map((of) => of.remarks[line])))
  .sort(([, a], [, b]) => (a < b ? -1 : 1));

const key = (value) => (Array.isArray(value) ? value[1] : value);

// Lines by key; what has none stays at the end, equals keep their order.
function ordered(lines, of, way) {
  const sign = way === "up" ? 1 : -1;
  const missing = (value) => value === null || value === undefined;
  return [...lines].sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
  });
}

function moved(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td");
  if (!step || !cell || !event.target.matches(".number")) return;
  const rows = [...cell.closest("tbody").rows];
  const row = rows[rows.indexOf(cell.parentElement) + step[0]];
  const next = row?.cells[cell.cellIndex + step[1]]?.querySelector(".number");
  if (!next) return;
  event.preventDefault();
  event.target.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

function renderTables() {
  const of = table();
  find("#tables").hidden = find("#figure").hidden = Boolean(of) && !Object.keys(of.cells).length;
  put("#tables-title", of ? of.title : "No rows yet");
  put("#tables .caption", of ? `${of.caption}.` : "");
  const metrics = of ? (state.columns ?? of.columns).filter((metric) => of.cells[metric]) : [];
  const costs = of ? (state.costs ?? []).filter((name) => of.costs[name]) : [];
  const lines = of ? shownLines().filter((line) => line in of.runs) : [];
  const columns = [
    { id: "method", title: "method", text: true }, { id: "prior", title: "prior", text: true },
    ...(of?.extras ?? []).map((name) => ({ id: name.replaceAll(" ", "_"), title: name, text: true })),
    { id: "runs", title: "runs" }, ...metrics.map((metric) => ({ id: metric, title: METRICS.get(metric) })),
    ...costs.map((name) => ({ id: `cost:${name}`, title: COSTS.get(name), plain: true })),
  ];
  const value = (line, id) => {
    if (id === "method") return LINES[line].title;
    if (id === "runs") return of.runs[line];
    if (id.startsWith("cost:")) return of.costs[id.slice(5)][line];
    return METRICS.has(id) ? cellOf(of, id, line) ?? [UNDEFINED, null, null, 0] : LINES[line][id];
  };
  put("#tables .scroll", lines.length
    ? sortable({ id: "tables", columns, lines, value, sort: state.sort, change: (sort) => choose({ sort }), remarks: remarksIn([of]),
      number: (line, metric) => numberId(line, metric, of.name, "") })
    : el("p", { class: "empty" }, of ? "No line has all of this; change the filters." : "There are no rows yet."));
  const notes = of ? [...of.marked, of.note, costs.length ? of.cost_note : "", ...metrics.filter((m) => DATA.metric_notes[m]).map((m) => `${DATA.metric_notes[m]}.`)] : [];
  put("#tables .notes", notes.filter(Boolean).map((note) => el("p", {}, marked(note))));
}
