// The page of a prediction. All data stand in #data; pictures lie beside the page.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const digits = (value) => Number(value.toPrecision(5)).toString();
const short = (value) => Number(value.toPrecision(2)).toString();
const PAGE = 240; // cards at once

const scores = data.images.map((image) => image.score);
const good = data.threshold?.false_alarm?.scores ?? [];
const all = [...scores, ...good];
const calibrated = data.threshold?.value ?? null;
if (calibrated !== null) all.push(calibrated);
const low = Math.min(...all), high = Math.max(...all), span = high - low || 1;
// The slider has a little room on both sides: all photos can pass, and all can fail.
const from = low - 0.02 * span, to = high + 0.02 * span;
let threshold = calibrated;
let shown = PAGE;

const fails = (image) => threshold !== null && image.score > threshold;
const pValue = (score) => good.length ? (1 + good.filter((value) => value >= score).length) / (good.length + 1) : null;

function strip() {
  const svg = get("strip"), width = svg.clientWidth || 900, bins = Math.max(20, Math.min(120, Math.round(width / 9)));
  const height = 64, counts = new Array(bins).fill(0), bad = new Array(bins).fill(0), usual = new Array(bins).fill(0);
  const bin = (value) => Math.min(bins - 1, Math.floor((value - from) / (to - from) * bins));
  for (const image of data.images) { counts[bin(image.score)] += 1; if (fails(image)) bad[bin(image.score)] += 1; }
  for (const value of good) usual[bin(value)] += 1;
  const most = Math.max(1, ...counts), mostGood = Math.max(1, ...usual), step = width / bins;
  svg.setAttribute("viewBox", `0 0 ${width} 84`);
  svg.replaceChildren();
  const draw = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    svg.append(element);
  };
  const bar = (name, i, count, top, base = 0) => {
    if (!count) return;
    const tall = count / top * height, under = base / top * height;
    draw("rect", { class: name, x: i * step + 0.5, width: Math.max(1, step - 1), y: height - tall - under, height: tall });
  };
  for (let i = 0; i < bins; i++) {
    bar("good", i, usual[i], mostGood);
    bar("photo", i, counts[i] - bad[i], most);
    bar("photo fail", i, bad[i], most, counts[i] - bad[i]);
  }
  if (threshold !== null) {
    const x = (Math.min(Math.max(threshold, from), to) - from) / (to - from) * width;
    draw("line", { x1: x, x2: x, y1: 0, y2: height + 4 });
  }
  draw("text", { x: 0, y: 80 }, digits(low));
  draw("text", { x: width, y: 80, "text-anchor": "end" }, digits(high));
  draw("text", { x: width / 2, y: 80, "text-anchor": "middle" },
    good.length && width > 600 ? "score → more anomalous (grey: the good images of the calibration)" : "score → more anomalous");
}

function listed() {
  const filter = get("filter").value, part = get("find").value.toLowerCase();
  const images = data.images.filter((image) =>
    (!filter || (fails(image) ? "fail" : "pass") === filter) && image.image.toLowerCase().includes(part));
  if (get("sort").value === "image") images.sort((a, b) => a.image.localeCompare(b.image, undefined, { numeric: true }));
  return images;
}

function gallery() {
  const images = listed(), plain = get("plain").checked, list = get("gallery");
  list.className = threshold === null ? "undecided" : "";
  list.replaceChildren(...images.slice(0, shown).map((image, place) => {
    const url = plain ? image.urls.photo : image.urls.overlay ?? image.urls.photo;
    const p = pValue(image.score);
    const caption = make("span", { class: "name" }, make("span", { class: "badge" }, fails(image) ? "fail" : "pass"),
      threshold === null ? "" : " ", image.image, make("br"),
      make("span", { class: "quiet" }, digits(image.score) + (p === null ? "" : ` · p ${short(p)}`)));
    const button = make("button", { type: "button" },
      make("img", { src: url, loading: "lazy", alt: `${image.image}, score ${digits(image.score)}` }), caption);
    button.addEventListener("click", () => open(place));
    return make("li", { class: fails(image) ? "fail" : "pass" }, button);
  }));
  get("more").hidden = images.length <= shown;
  get("more").textContent = `Show ${Math.min(PAGE, images.length - shown)} more of ${images.length}`;
}

let place = 0;
function open(at) {
  const images = listed();
  place = Math.min(Math.max(at, 0), images.length - 1);
  const image = images[place], p = pValue(image.score);
  get("large-name").textContent = image.image;
  get("large-score").textContent = `score ${digits(image.score)}` + (p === null ? "" : ` · p ${short(p)}`) +
    ` · ${image.width} × ${image.height}` + (image.tiles > 1 ? ` · ${image.tiles} tiles` : "");
  get("pair").replaceChildren(...["photo", "overlay"].filter((kind) => image.urls[kind])
    .map((kind) => make("img", { src: image.urls[kind], alt: kind })));
  if (!get("large").open) get("large").showModal();
}

function update() {
  const failing = data.images.filter(fails).length;
  get("counts").textContent = threshold === null ? "" : `${failing} fail · ${data.images.length - failing} pass`;
  get("rate").textContent = threshold === null ? "move the slider to decide" : !good.length ? "" :
    `${good.filter((value) => value > threshold).length} of ${good.length} good images of the calibration are above`;
  get("threshold").value = threshold === null ? "" : digits(threshold);
  get("slider").value = threshold === null ? 1000 : Math.round((threshold - from) / (to - from) * 1000);
  get("reset").hidden = calibrated === null || threshold === calibrated;
  get("download").disabled = threshold === null;
  strip();
  gallery();
}

function download() {
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = [["image", "score", "threshold", "p_value", "decision"], ...data.images.map((image) =>
    [image.image, image.score, threshold, pValue(image.score) ?? "", fails(image) ? "fail" : "pass"])];
  const text = lines.map((line) => line.map((cell) => quoted(String(cell))).join(",")).join("\n") + "\n";
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "decisions.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

function list(id, lines, summary) {
  get(id).hidden = !lines.length;
  if (summary) get(id).querySelector("summary").textContent = summary;
  get(id).querySelector("ul").replaceChildren(...lines.map((line) => make("li", {}, line)));
}

get("about").textContent = data.title_line;
get("warning").textContent = data.warning ?? "";
get("warning").hidden = !data.warning;
get("scale").textContent = data.colours === null ? "" :
  `colours: from ${digits(data.colours.from)}, which is usual here, to ${digits(data.colours.to)}`;
list("unread", data.unread.map((each) => each.reason), `${data.unread.length} files could not be scored`);
list("notes", data.notes);
get("slider").addEventListener("input", () => {
  threshold = from + get("slider").value / 1000 * (to - from);
  shown = PAGE;
  update();
});
get("threshold").addEventListener("change", () => {
  const value = parseFloat(get("threshold").value);
  threshold = Number.isFinite(value) ? value : calibrated;
  update();
});
get("reset").addEventListener("click", () => { threshold = calibrated; update(); });
get("download").addEventListener("click", download);
for (const id of ["filter", "sort", "plain"]) get(id).addEventListener("change", () => { shown = PAGE; gallery(); });
get("find").addEventListener("input", () => { shown = PAGE; gallery(); });
get("more").addEventListener("click", () => { shown += PAGE; gallery(); });
get("before").addEventListener("click", () => open(place - 1));
get("after").addEventListener("click", () => open(place + 1));
get("close").addEventListener("click", () => get("large").close());
get("large").addEventListener("click", (event) => { if (event.target === get("large")) get("large").close(); });
document.addEventListener("keydown", (event) => {
  if (!get("large").open) return;
  if (event.key === "ArrowLeft") open(place - 1);
  if (event.key === "ArrowRight") open(place + 1);
});
addEventListener("resize", strip);
update();
