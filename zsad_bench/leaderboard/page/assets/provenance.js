// Where a number comes from: in short while the pointer is on it, in full when it is clicked.
const percent = (value, digits = 1) => (value === null || value === undefined ? UNDEFINED : (100 * value).toFixed(digits));
const distinct = (rows, name) => unique(rows.map((row) => row[name])).filter((value) => value !== "" && value !== null);
const listed = (values) => (values.length ? values.join(", ") : "none");
const short = (hash) => (hash.length > 12 ? `${hash.slice(0, 10)}…` : hash || "none");
const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

// "line|metric|table|category"; without a category it is the table's own number.
function numberOf(id) {
  const [line, metric, name, category] = id.split("|").map(decodeURIComponent);
  const of = TABLES.get(name);
  const holder = category ? of?.parts.find((part) => part.category === category) : of;
  const cell = holder && cellOf(holder, metric, Number(line));
  return cell ? { line: Number(line), metric, table: of, category, cell } : null;
}
const numberId = (...parts) => parts.map((part) => encodeURIComponent(part)).join("|");

function origin(number) {
  const rows = rowsBehind(number.line, number.metric, number.table.targets, number.category);
  const images = new Map(rows.map((row) => [`${row.target}/${row.category}`, row]));
  return {
    rows,
    title: `${LINES[number.line].title} · ${METRICS.get(number.metric)} · ${number.category || number.table.title}`,
    runs: distinct(rows, "run_id").length && unique(rows.map((row) => `${row.seed}/${row.draw}`)).length,
    categories: images.size,
    images: [...images.values()].reduce((sum, row) => sum + row.n_images, 0),
    anomalous: [...images.values()].reduce((sum, row) => sum + row.n_anomalous, 0),
  };
}

function shortly(number) {
  const { rows, title, runs, categories, images } = origin(number);
  const line = LINES[number.line];
  const prior = line.prior === "none" ? "no prior" : `prior ${line.prior} (${listed(distinct(rows, "prior_hash").map(short))})`;
  const remarks = distinct(rows, "remark");
  return [
    el("strong", {}, `${number.cell[0]}`), ` ${title}`,
    remarks.length ? [el("br"), `remark: ${listed(remarks)}`] : null,
    el("br"), `version ${listed(distinct(rows, "method_version"))}, ${prior}`,
    rows.some((row) => row.transductive) ? [el("br"), "transductive: saw all test images of a category at once"] : null,
    el("br"), `${plural(runs, "run")}: seed ${listed(distinct(rows, "seed"))}, draw ${listed(distinct(rows, "draw"))}`,
    el("br"), `${plural(categories, "category", "categories")}, ${images} images; ${line.precision}, ${listed(distinct(rows, "device"))}`,
    el("br"), `commit ${listed(distinct(rows, "commit"))}, torch ${listed(distinct(rows, "torch"))}`,
    el("br"), `config ${listed(distinct(rows, "config_hash"))}, ${listed(unique(rows.map((row) => row.started.slice(0, 10))))}`,
    el("br"), el("em", {}, "Click for every row and its key."),
  ];
}

// The full panel of some rows. `first`: heading and number.
function openPanel(title, text, rows, line) {
  const of = LINES[line];
  const fact = (name, values) => [el("dt", {}, name), el("dd", {}, listed(values))];
  const close = () => find("#panel").close();
  const facts = el("dl", {},
    fact("method", [`${of.method}, version ${listed(distinct(rows, "method_version"))}`]),
    fact("variant", [of.variant || "none"]),
    fact("prior", [of.prior]), fact("prior hash", distinct(rows, "prior_hash")),
    fact("auxiliary data", distinct(rows, "auxiliary")),
    fact("seeds", distinct(rows, "seed")), fact("draws", distinct(rows, "draw")),
    fact("backbone", [`${of.backbone}, ${of.image_size} px`]), fact("weights hash", distinct(rows, "weights_hash")),
    fact("hash of saved maps, whose method was not run here", distinct(rows, "maps_hash")),
    fact("threshold from", distinct(rows, "calibrated_on")),
    fact("transductive", distinct(rows, "transductive").map((is) => (is ? "yes" : "no"))),
    fact("hash of the images that were scored together", distinct(rows, "set_hash")),
    fact("precision", [of.precision]), fact("device", distinct(rows, "device")),
    fact("torch", distinct(rows, "torch")), fact("commit", distinct(rows, "commit")),
    fact("package", distinct(rows, "package_version")), fact("config hash", distinct(rows, "config_hash")),
    fact("data hash", distinct(rows, "data_hash")), fact("data options", distinct(rows, "data_options")),
    fact("metric version", distinct(rows, "metric_version")), fact("skipped images", distinct(rows, "n_skipped")),
    fact("part of the target", distinct(rows, "target_partial").map((text) => `${text} images`)),
    fact("part of the auxiliary data", distinct(rows, "auxiliary_partial").map((text) => `${text} images`)),
    fact("anomalous images without a marked pixel", distinct(rows, "n_vanished")),
    fact("near duplicates of auxiliary images", distinct(rows, "n_near_duplicates")),
    fact("remark of the method", distinct(rows, "remark")),
  );
  put("#panel",
    el("div", { class: "panel-head" }, el("h2", { id: "panel-title" }, title),
      el("button", { type: "button", onclick: close, "data-id": "close" }, "Close")),
    el("p", { class: "big" }, text),
    facts,
    el("h3", {}, plural(rows.length, "row"), " behind it"),
    el("p", { class: "quiet" }, "A run that covers fewer categories than the best covered one is not averaged. ",
      "Intervals are over a category's images; a bound says how far a value may be from the exact one."),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rows" }, rowTable(rows)));
  find("#panel").showModal();
}

function rowTable(rows) {
  const names = ["dataset", "category", "metric", "seed", "draw", "value", "interval or bound", "images (anomalous)",
    "regions", "key", "run", "started"];
  const line = (row) => [titleOf(row.target), row.category, METRICS.get(row.metric), row.seed, row.draw,
    row.value === null ? `${UNDEFINED} ${row.reason}` : percent(row.value, 4), error(row),
    imagesOf(row), row.n_regions ?? UNDEFINED, row.key, row.run_id, row.started];
  return el("table", { class: "rows" },
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, line(row).map((text) => el("td", {}, String(text)))))));
}

function imagesOf(row) {
  const skipped = row.n_skipped ? `, ${row.n_skipped} left out` : "";
  return `${row.n_images} (${row.n_anomalous})${skipped}`;
}

function error(row) {
  if (row.ci_low !== null) return `${percent(row.ci_low)} to ${percent(row.ci_high)} (${percent(row.ci_level, 0)} %)`;
  return row.error_bound === null ? "exact" : `± ${percent(row.error_bound, 3)}`;
}

function openNumber(id) {
  const number = numberOf(id);
  if (!number) return;
  const { rows, title, categories, images, anomalous } = origin(number);
  const over = `${plural(categories, "category", "categories")}, ${images} images, ${anomalous} anomalous`;
  openPanel(title, `${number.cell[0]} over ${over}`, rows, number.line);
}

// The short form beside the number, kept inside the window.
function showTip(button) {
  const number = numberOf(button.dataset.number);
  const tip = find("#tip");
  if (!number) return;
  put("#tip", shortly(number));
  tip.hidden = false;
  button.setAttribute("aria-describedby", "tip");
  const [here, size] = [button.getBoundingClientRect(), tip.getBoundingClientRect()];
  const above = here.top - size.height - 6;
  tip.style.left = `${Math.max(8, Math.min(here.left, document.documentElement.clientWidth - size.width - 8))}px`;
  tip.style.top = `${above > 8 ? above : here.bottom + 6}px`;
}
function hideTip() {
  find("#tip").hidden = true;
  find("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
}
