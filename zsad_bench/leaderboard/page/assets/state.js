// What is chosen, kept in the part of the address after "#", so that a view can be linked to.
// The page opens on the table that shows datasets side by side, or else on the first that has pictures.
const FIRST = (DATA.tables.find((table) => table.targets.length > 1) ??
  DATA.tables.find((table) => PICTURED.has(table.name)) ?? DATA.tables[0])?.name ?? "";
const DEFAULTS = {
  q: "", // search text
  methods: null, // titles; null is all
  priors: null,
  columns: null, // metrics of the first table; null is those of the Markdown tables
  costs: null, // columns of the first table that say what a line takes; null is none
  data: FIRST, // name of a table
  metric: README_METRICS[0] ?? DATA.metrics[0]?.[0] ?? "",
  sort: "", // of the first table: column:down or column:up
  order: "", // of the matrix
  scale: "all", // of its colours: all, or column
  kind: "", // of pictures; empty is the first that there are any of
  category: "",
  outline: "1",
  opacity: "60",
  number: "", // the number whose origin is open: line|metric|table|category
};
const LISTS = ["methods", "priors", "columns", "costs"];
const state = { ...DEFAULTS };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(DEFAULTS)) {
    const value = given.get(name);
    if (value === null) state[name] = DEFAULTS[name];
    else state[name] = LISTS.includes(name) ? value.split("\n").filter(Boolean) : value;
  }
  // An address may be older than the page: what it no longer has is not chosen.
  if (!TABLES.has(state.data)) state.data = FIRST;
  if (!METRICS.has(state.metric)) state.metric = DEFAULTS.metric;
}

function address(changes = {}) {
  const wanted = { ...state, ...changes };
  const kept = Object.entries(wanted).filter(([name, value]) => value !== DEFAULTS[name]);
  return new URLSearchParams(kept.map(([name, value]) => [name, LISTS.includes(name) ? value.join("\n") : value])).toString();
}

function choose(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", `#${address()}`);
  render();
}

// A line is shown when its method and prior are chosen and every word of the search occurs in its names.
function isShown(line) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const names = `${line.title} ${line.method} ${line.variant} ${line.prior} ${line.backbone}`.toLowerCase();
  return (
    (!state.methods || state.methods.includes(line.title)) &&
    (!state.priors || state.priors.includes(line.prior)) &&
    words.every((word) => names.includes(word))
  );
}
const shownLines = () => LINES.map((line, i) => i).filter((i) => isShown(LINES[i]));
const table = () => TABLES.get(state.data);
const cellOf = (of, metric, line) => of.cells[metric]?.[line];
const lineName = (line) => [LINES[line].title, LINES[line].prior].filter((text) => text !== "none").join(" · ");
