// Puts the parts together: filters, theme, one render after each change.
const THEMES = ["auto", "dark", "light"];
let theme = "auto";

function setTheme(next) {
  theme = THEMES.includes(next) ? next : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  put("#theme", `Theme: ${theme}`);
  try {
    localStorage.setItem("zsad-bench-theme", theme);
  } catch {
    // Some browsers keep nothing for files; the choice then lasts as long as the page.
  }
}

function renderFilters() {
  const tabs = DATA.tables.map((one) => el("button", { type: "button", "aria-pressed": String(one.name === state.data),
    "data-id": `data:${one.name}`, onclick: () => choose({ data: one.name, sort: "", order: "", category: "" }) }, one.title));
  const search = el("input", { type: "search", id: "q", "data-id": "q", placeholder: "method or prior", value: state.q,
    "aria-label": "Search methods and priors", oninput: (event) => choose({ q: event.target.value }) });
  const columns = state.columns ?? README_METRICS;
  put("#filters",
    el("div", { class: "tabs", role: "group", "aria-label": "Dataset" }, tabs),
    el("div", { class: "line" }, search,
      choices("methods", "Methods", METHODS.map((name) => [name, name]), state.methods, (methods) => choose({ methods })),
      choices("priors", "Priors", PRIORS.map((name) => [name, name]), state.priors, (priors) => choose({ priors })),
      choices("columns", "Metrics", DATA.metrics, columns.length === DATA.metrics.length ? null : columns,
        (chosen) => choose({ columns: chosen ?? DATA.metrics.map(([name]) => name) })),
      DATA.costs.length ? costChoices() : null,
      el("button", { type: "button", "data-id": "reset", onclick: () => choose({ ...DEFAULTS, data: state.data }) }, "Reset")));
}

// Unlike other lists it begins with none: quality is what the page opens on.
function costChoices() {
  const chosen = state.costs ?? [];
  return choices("costs", "Cost", DATA.costs, chosen.length === DATA.costs.length ? null : chosen,
    (costs) => choose({ costs: costs?.length === 0 ? null : costs ?? DATA.costs.map(([name]) => name) }));
}

// One pass over everything: some thousand elements. What had the focus, and which lists were open, stays so.
function render() {
  const focused = document.activeElement?.dataset?.id;
  const cursor = document.activeElement?.selectionStart;
  const open = [...document.querySelectorAll("details[open][data-open]")].map((one) => one.dataset.open);
  const scrolled = [...document.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  hideTip();
  renderFilters();
  renderTables();
  renderMatrix();
  renderFigure();
  renderGallery();
  const shown = shownLines().length;
  put("#status", shown === LINES.length ? "" : `${shown} of ${LINES.length} lines shown`);
  document.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = scrolled[i] ?? 0; });
  for (const id of open) find(`details[data-open="${CSS.escape(id)}"]`)?.setAttribute("open", "");
  const again = focused && find(`[data-id="${CSS.escape(focused)}"]`);
  if (!again || again === document.activeElement) return;
  again.focus({ preventScroll: true });
  if (again.type === "search") again.setSelectionRange(cursor, cursor);
}

function renderOnce() {
  put("#title", `Leaderboard: ${DATA.suite}`);
  put("#suite-note", TABLES.get(FIRST)?.note ?? "");
  const told = new Map(DATA.facts);
  put("#about", told.size ? `${plural(DATA.rows.n, "row")} · measured ${told.get("measured")} · commit ${told.get("commit")}` : "No rows yet.");
  const list = (title, items) => (items.length ? [el("h3", {}, title), el("ul", {}, items.map((item) => el("li", {}, item)))] : []);
  put("#reading .prose",
    DATA.how.map((paragraph) => el("p", {}, marked(paragraph))),
    el("p", {}, "Point at a number to see where it comes from; click it, or press Enter on it, for every row behind it. What you choose is kept in the address, so a view can be sent as a link."),
    list("Conflicts: two values for one number in one run; neither is used", DATA.conflicts),
    list("Undefined", DATA.undefined), list("Left out", DATA.left_out), list("From the future", DATA.ahead),
    el("h3", {}, "Provenance of all rows together"),
    el("dl", {}, DATA.facts.map(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])),
    el("p", {}, "The same tables as text: README.md beside this page. Made by ", el("code", {}, DATA.page_command), "."));
  document.body.append(heatFilter());
}

function start() {
  let stored = null;
  try {
    stored = localStorage.getItem("zsad-bench-theme");
  } catch {
    // as in setTheme
  }
  setTheme(stored ?? "auto");
  readAddress();
  renderOnce();
  render();
  find("#filters").addEventListener("submit", (event) => event.preventDefault());
  find("#theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]));
  document.addEventListener("click", (event) => {
    const number = event.target.closest?.("[data-number]");
    if (number) {
      hideTip();
      state.number = number.dataset.number;
      history.replaceState(null, "", `#${address()}`);
      openNumber(state.number);
    }
    for (const open of document.querySelectorAll("details.choices[open]")) if (!open.contains(event.target)) open.open = false;
  });
  find("#panel").addEventListener("close", () => {
    state.number = "";
    history.replaceState(null, "", `#${address()}`);
  });
  find("#panel").addEventListener("click", (event) => { if (event.target === find("#panel")) find("#panel").close(); });
  for (const [on, off] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    document.addEventListener(on, (event) => { if (event.target.matches?.(".number")) showTip(event.target); });
    document.addEventListener(off, (event) => { if (event.target.matches?.(".number")) hideTip(); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    hideTip();
    for (const open of document.querySelectorAll("details.choices[open]")) open.open = false;
  });
  document.addEventListener("scroll", hideTip, { capture: true, passive: true });
  addEventListener("hashchange", () => { readAddress(); render(); if (state.number) openNumber(state.number); });
  addEventListener("resize", renderFigure);
  if (state.number) openNumber(state.number);
}
start();
