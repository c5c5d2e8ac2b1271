// A dot per prior, a line per method: what the prior is worth. Shapes differ as well as colours.
const SHAPES = [
  (x, y) => svg("circle", { cx: x, cy: y, r: 5.5 }),
  (x, y) => svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }),
  (x, y) => svg("path", { d: `M${x} ${y - 7}l7 7l-7 7l-7 -7z` }),
  (x, y) => svg("path", { d: `M${x} ${y - 6}l6.5 11.5h-13z` }),
];
const round = (step, value) => Number((Math.round(value / step) * step).toFixed(6));

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((one) => one >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => round(step, (first + i) * step));
}

function renderFigure() {
  const of = table();
  const metric = METRICS.get(state.metric);
  put("#figure-title", `${metric ?? ""} under each prior`, el("span", { class: "quiet" }, ` ${of?.title ?? ""}`));
  const shown = of ? shownLines().map((line) => [line, cellOf(of, state.metric, line)]).filter(([, cell]) => cell && cell[1] !== null) : [];
  // Sanity checks would stretch the axis until the others fall together.
  const drawn = shown.some(([line]) => !LINES[line].sanity) ? shown.filter(([line]) => !LINES[line].sanity) : shown;
  const priors = unique(drawn.map(([line]) => LINES[line].prior)).sort((a, b) => (b === "none") - (a === "none") || a.localeCompare(b));
  const methods = new Map();
  for (const [line, cell] of drawn) {
    const { title, backbone, image_size, precision } = LINES[line];
    const name = [title, backbone, image_size, precision].join("|");
    methods.set(name, [...(methods.get(name) ?? []), { line, cell, prior: LINES[line].prior }]);
  }
  put("#figure .plot", methods.size ? plot([...methods.values()], priors, `${metric}, ${of.title}`)
    : el("p", { class: "empty" }, "Nothing chosen has this metric."));
  const mark = (prior, i) => el("span", { class: "key" }, svg("svg", { width: 16, height: 16, class: `p${i % 4}`, "aria-hidden": "true" }, SHAPES[i % 4](8, 8)), prior === "none" ? "no prior" : prior);
  put("#figure .notes", methods.size ? el("p", { class: "keys" }, priors.map(mark)) : null,
    methods.size ? el("p", {}, "Whiskers are the standard deviation over runs. The axis does not start at zero; sanity checks are left out.") : null,
    el("p", {}, marked(of?.note ?? "")));
}

function plot(methods, priors, title) {
  const width = Math.max(300, Math.min(860, find("#figure .plot").clientWidth || 860));
  const [left, right, top, row] = [width < 480 ? 112 : 150, 18, 8, 30];
  const dots = methods.flat();
  const ends = dots.flatMap(({ cell }) => [cell[1] - (cell[2] ?? 0), cell[1] + (cell[2] ?? 0)]).map((value) => 100 * value);
  const pad = Math.max(0.5, 0.06 * (Math.max(...ends) - Math.min(...ends)));
  const [low, high] = [Math.max(0, Math.min(...ends) - pad), Math.min(100, Math.max(...ends) + pad)];
  const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  const height = top + methods.length * row;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height + 24}`, width, height: height + 24, role: "img", "aria-label": `${title}: a dot for each method and prior; the numbers are in the tables above` });
  for (const tick of ticks(low, high, width < 480 ? 4 : 8)) {
    picture.append(svg("line", { class: "tick", x1: x(tick), x2: x(tick), y1: top, y2: height }),
      svg("text", { x: x(tick), y: height + 17, "text-anchor": "middle" }, String(tick)));
  }
  methods.forEach((of, i) => {
    const middle = top + row * (i + 0.5);
    const values = of.map(({ cell }) => x(100 * cell[1]));
    picture.append(svg("text", { x: left - 12, y: middle + 4, "text-anchor": "end", class: "name" }, cut(LINES[of[0].line].title, width < 480 ? 13 : 22)),
      svg("line", { class: "pair", x1: Math.min(...values), x2: Math.max(...values), y1: middle, y2: middle }));
    of.forEach(({ line, cell, prior }, nth) => {
      const y = middle + 7 * (nth - (of.length - 1) / 2); // side by side, so that equal values are both seen
      const [mean, error] = [100 * cell[1], 100 * (cell[2] ?? 0)];
      const mark = svg("g", { class: `dot p${priors.indexOf(prior) % 4}` },
        svg("title", {}, `${lineName(line)}: ${cell[0]}`), SHAPES[priors.indexOf(prior) % 4](x(mean), y));
      if (error) picture.append(svg("line", { class: "whisker", x1: x(mean - error), x2: x(mean + error), y1: y, y2: y }));
      picture.append(mark);
    });
  });
  return picture;
}
const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
