// What the page was given, unpacked. A column is a list, or its distinct values ("of") and where each stands ("at").
const DATA = JSON.parse(document.getElementById("data").textContent);
const LINES = DATA.lines;
// Where no datasets have a common mean, something must still show them side by side: a table without numbers of its own.
if (DATA.tables.length > 1 && DATA.tables.every((table) => table.targets.length === 1)) {
  const targets = DATA.tables.flatMap((table) => table.targets);
  DATA.tables.unshift({ name: "", title: "All datasets", targets, note: DATA.tables[0].note, marked: [], caption: "", apart: false,
    columns: [], extras: [], runs: {}, remarks: {}, costs: {}, cost_note: "", cells: {}, parts: [] });
}
const TABLES = new Map(DATA.tables.map((table) => [table.name, table]));
const METRICS = new Map(DATA.metrics);
const COSTS = new Map(DATA.costs);
const UNDEFINED = "–";

const at = (column, i) => (Array.isArray(column) ? column[i] : column.of[column.at ? column.at[i] : 0]);
const record = (columns, i) => Object.fromEntries(Object.entries(columns).map(([name, of]) => [name, at(of, i)]));
const unique = (values) => [...new Set(values)];

const METHODS = unique(LINES.map((line) => line.title));
const PRIORS = unique(LINES.map((line) => line.prior)).sort();
const README_METRICS = unique(DATA.tables.flatMap((table) => table.columns));

// Targets that there are pictures of.
const PICTURED = new Set(Array.from({ length: DATA.gallery.n }, (_, i) => at(DATA.gallery.cards.target, i)));
// A target as printed: a menu shows no registry names.
const titleOf = (target) => TABLES.get(target)?.title ?? target;

// The rows that pass `keep`, a test of a run, a category record and a row; each with all that is known about it.
function rowsWhere(keepRun, keepCategory, keepRow) {
  const { runs, categories, rows } = DATA.rows;
  const found = [];
  if (!DATA.rows.n) return found;
  for (let i = 0; i < DATA.rows.n; i++) {
    const category = at(rows.at, i);
    const run = at(categories.run, category);
    if (keepRun(run) && keepCategory(category) && keepRow(i)) {
      found.push({ ...record(runs, run), ...record(categories, category), ...record(rows, i) });
    }
  }
  return found;
}

// The rows behind one number: a line's metric over some targets, or one category of a target.
function rowsBehind(line, metric, targets, category) {
  const { runs, categories, rows } = DATA.rows;
  return rowsWhere(
    (run) => at(runs.line, run) === line && targets.includes(at(runs.target, run)),
    (of) => !category || at(categories.category, of) === category,
    (row) => at(rows.metric, row) === metric,
  );
}

// The rows of one category of one cell, every metric.
function rowsOfKey(key, category) {
  const { runs, categories } = DATA.rows;
  return rowsWhere(
    (run) => at(runs.key, run) === key,
    (of) => at(categories.category, of) === category,
    () => true,
  );
}
