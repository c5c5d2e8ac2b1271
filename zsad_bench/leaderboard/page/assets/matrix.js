// One metric: every method on every dataset, or on the categories of one; the number is in the cell, its colour behind it.
const RAMP = [[245, 247, 243], [203, 222, 221], [136, 184, 196], [62, 126, 158], [16, 62, 98]];

function shade(share) {
  const place = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const [low, part] = [Math.min(Math.floor(place), RAMP.length - 2), place - Math.min(Math.floor(place), RAMP.length - 2)];
  return RAMP[low].map((from, c) => Math.round(from + part * (RAMP[low + 1][c] - from)));
}

// Black or white, whichever stands out more (relative luminance of WCAG 2).
function textOn(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#fff" : "#10181c";
}

// What stands in a column of the matrix: [{id, title, holder, table, category}].
function matrixColumns() {
  const of = table();
  if (!of) return [];
  const whole = (one) => ({ id: `t:${one.name}`, title: one.title, holder: one, table: one, category: "" });
  if (of.targets.length > 1) {
    const mixed = DATA.tables.some((one) => one !== of && !one.apart);
    return [whole(of), ...DATA.tables.filter((one) => one !== of).map(whole)].map((one) =>
      one.table.apart && mixed ? { ...one, title: `${one.title} ‡` } : one);
  }
  const parts = of.parts.map((part) => ({ id: `c:${part.category}`, title: part.category, holder: part, table: of, category: part.category }));
  return parts.length > 1 ? [{ ...whole(of), title: "mean" }, ...parts] : parts;
}

function renderMatrix() {
  const columns = matrixColumns().filter((one) => one.holder.cells[state.metric]);
  const cell = (line, one) => cellOf(one.holder, state.metric, line);
  const lines = shownLines().filter((line) => columns.some((one) => cell(line, one)));
  put("#matrix-title", METRICS.get(state.metric) ?? "", el("span", { class: "quiet" },
    table()?.targets.length > 1 ? " on every dataset" : ` by category of ${table()?.title ?? ""}`));
  const by = { all: "all columns together", column: "each column by itself" };
  put("#matrix .controls",
    select("metric", "metric", DATA.metrics, state.metric, (metric) => choose({ metric, order: "" })),
    select("scale", "colours over", Object.entries(by), state.scale, (scale) => choose({ scale })));
  const byId = new Map(columns.map((one) => [one.id, one]));
  const span = (some) => {
    const graded = lines.some((line) => !LINES[line].sanity) ? lines.filter((line) => !LINES[line].sanity) : lines;
    const values = some.flatMap((one) => graded.map((line) => cell(line, one)?.[1])).filter((v) => v !== null && v !== undefined);
    return [Math.min(...values), Math.max(...values)];
  };
  const [all, own] = [span(columns), new Map(columns.map((one) => [one.id, span([one])]))];
  const paint = (made, value, id) => {
    if (value[1] === null) return;
    const [low, high] = state.scale === "column" ? own.get(id) : all;
    const rgb = shade(high > low ? (value[1] - low) / (high - low) : 0.5);
    made.classList.add("painted");
    made.style.backgroundColor = `rgb(${rgb.join(",")})`;
    made.style.color = textOn(rgb);
  };
  const value = (line, id) => {
    if (id === "method" || id === "prior") return id === "prior" ? LINES[line].prior : LINES[line].title;
    const found = cell(line, byId.get(id));
    return found ? [...found.slice(0, 3), 0] : "";
  };
  put("#matrix .scroll", lines.length
    ? sortable({ id: "matrix", lines, value, paint, sort: state.order, change: (order) => choose({ order }),
      remarks: remarksIn(unique(columns.map((one) => one.table))),
      columns: [{ id: "method", title: "method", text: true }, { id: "prior", title: "prior", text: true }, ...columns],
      number: (line, id) => numberId(line, state.metric, byId.get(id).table.name, byId.get(id).category) })
    : el("p", { class: "empty" }, "Nothing chosen has this metric."));
  const apart = columns.some((one) => one.title.endsWith(" ‡"));
  put("#matrix .notes",
    state.scale === "all" && lines.length ? legend(all) : null,
    lines.some((line) => LINES[line].sanity) ? el("p", {}, "Sanity checks have no say in the range of the colours.") : null,
    apart ? el("p", {}, `‡ ${columns.find((one) => one.title.endsWith(" ‡")).table.note}`) : null,
    markedNotes(columns).map((text) => el("p", {}, marked(text))),
    el("p", {}, marked(table()?.note ?? "")));
}

// What is said of marked numbers; a table of means says it of the tables that are in them.
function markedNotes(columns) {
  const mean = table() && Object.keys(table().cells).length ? table() : null;
  const told = columns.map((one) => one.table).filter((one) => !mean || one === mean || one.apart);
  return unique(told.flatMap((one) => one.marked));
}

function legend([low, high]) {
  const steps = Array.from({ length: 9 }, (_, i) => {
    const bit = el("span");
    bit.style.backgroundColor = `rgb(${shade(i / 8).join(",")})`;
    return bit;
  });
  return el("p", { class: "legend" }, `${percent(low)} `, el("span", { class: "ramp", "aria-hidden": "true" }, steps), ` ${percent(high)}`);
}
