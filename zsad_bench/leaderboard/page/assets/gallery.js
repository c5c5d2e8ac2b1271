// Pictures: the image as the methods saw it, the map over it, the outline of its mask on top.
const CARDS = Array.from({ length: DATA.gallery.n }, (_, i) => record(DATA.gallery.cards, i));
const KINDS = { largest: "largest defect", best: "best", worst: "worst", false_alarm: "false alarm" };
const MEANS = {
  largest: "the image with the largest mask of its category, the same for every method",
  best: "the anomalous image whose map has the highest AUROC (or the highest score, where there are no masks)",
  worst: "the anomalous image whose map has the lowest AUROC (or the lowest score, where there are no masks)",
  false_alarm: "the normal image with the highest score",
};
const PAGE = 48;
let cardsShown = PAGE;
let cardsAsked = "";

function galleryTargets() {
  const targets = table()?.targets ?? [];
  const pictured = DATA.tables.map((one) => one.name).filter((name) => PICTURED.has(name));
  const here = pictured.filter((target) => targets.includes(target));
  return here.length || targets.length === 1 ? here : pictured;
}

function renderGallery() {
  const targets = galleryTargets();
  const here = CARDS.filter((card) => targets.includes(card.target));
  const placeOf = (card) => `${card.target}/${card.category}`;
  const places = targets.flatMap((target) => unique(here.filter((card) => card.target === target).map(placeOf)).sort());
  const kinds = Object.keys(KINDS).filter((kind) => here.some((card) => card.kind === kind));
  // What nobody chose is what there is a picture of: an image-level dataset has no largest defect.
  const asPlace = (card) => state.category === "all" || !places.includes(state.category) || placeOf(card) === state.category;
  const chosen = kinds.includes(state.kind) ? state.kind : kinds.find((kind) => here.some((card) => card.kind === kind && asPlace(card))) ?? "";
  const withKind = new Set(here.filter((card) => card.kind === chosen).map(placeOf));
  const place = places.includes(state.category) || state.category === "all" ? state.category
    : places.find((one) => withKind.has(one)) ?? places[0] ?? "";
  const lines = new Set(shownLines());
  const cards = here.filter((card) => lines.has(card.line) && card.kind === chosen && (place === "all" || placeOf(card) === place))
    .sort((a, b) => places.indexOf(placeOf(a)) - places.indexOf(placeOf(b)) || a.line - b.line);
  const asked = [place, chosen].join();
  if (asked !== cardsAsked) [cardsAsked, cardsShown] = [asked, PAGE];
  const names = new Map(here.map((card) => [placeOf(card), `${titleOf(card.target)} / ${card.category}`]));
  const named = places.map((one) => [one, names.get(one)]);
  put("#gallery .controls", places.length ? [
    select("category", "category", [...named, ["all", "all categories"]], place, (category) => choose({ category })),
    select("kind", "show", kinds.map((kind) => [kind, KINDS[kind]]), chosen, (kind) => choose({ kind })),
    el("label", { class: "field tick" }, el("input", { type: "checkbox", id: "outline", "data-id": "outline", checked: state.outline === "1",
      onchange: (event) => choose({ outline: event.target.checked ? "1" : "0" }) }), el("span", {}, "outline of the mask")),
    el("label", { class: "field" }, el("span", {}, "map"), el("input", { type: "range", id: "opacity", "data-id": "opacity", min: 0, max: 100, step: 5,
      value: state.opacity, oninput: (event) => { state.opacity = event.target.value; setOpacity(); },
      onchange: (event) => choose({ opacity: event.target.value }) })),
    colours()] : []);
  setOpacity();
  find("#gallery").classList.toggle("no-outline", state.outline !== "1");
  put("#gallery .caption", chosen ? `${KINDS[chosen]}: ${MEANS[chosen]}.` : "");
  const rest = cards.length - cardsShown;
  const more = el("button", { type: "button", class: "more", "data-id": "more", onclick: () => { cardsShown += PAGE; render(); } }, `${rest} more`);
  put("#gallery .cards", cards.length ? [...cards.slice(0, cardsShown).map(card), rest > 0 ? more : null]
    : [el("p", { class: "empty" }, places.length ? "No picture of what is chosen." : "No pictures of this here.")]);
  put("#gallery .notes", galleryNotes().map((note) => el("p", {}, marked(note))));
}

function galleryNotes() {
  const { withheld, private: own, too_many, licences } = DATA.gallery;
  const notes = Object.entries(withheld).map(([name, n]) =>
    `${plural(n, "picture")} of ${name} left out: its licence does not allow, or is not known to allow, passing its images on. \`${DATA.page_command} --photos\` puts them into a page of your own.`);
  if (own.length) notes.push(`This page holds pictures of ${own.join(", ")} that may not be passed on: keep it to yourself.`);
  if (too_many) notes.push(`${too_many} more pictures are left out to keep this page small; \`--megabytes\` allows more.`);
  if (!CARDS.length) return notes;
  const under = Object.entries(licences).map(([name, licence]) => `${name}: ${licence}`).join(", ");
  return [`Each line's first run: the lowest draw and seed. A map's colours run from the lowest to the highest value on that image: they show where, not how sure. Values are of that image and map alone. Licences: ${under}.`, ...notes];
}

const setOpacity = () => find("#gallery").style.setProperty("--map", state.opacity / 100);

function card(of) {
  const [image, path, width, height] = DATA.gallery.images[of.image];
  const size = { width, height };
  const map = of.map === null ? null : svg("image", { class: "map", href: DATA.gallery.maps[of.map], filter: "url(#heat)", ...size });
  const line = path ? [svg("path", { class: "halo", d: path }), svg("path", { class: "outline", d: path })] : [];
  const text = `${of.label ? "anomalous" : "normal"} image ${of.id}; map of ${lineName(of.line)}`;
  const values = DATA.gallery.values.map((name, i) => [name, of.values[i]]).filter(([, value]) => value !== null);
  const open = () => openPanel(`${LINES[of.line].title} · ${of.category}`, `cell ${of.key}`, rowsOfKey(of.key, of.category), of.line);
  return el("figure", { class: "card", "data-kind": of.kind },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text }, svg("image", { href: image, ...size }), map, line),
    el("figcaption", {},
      el("b", {}, LINES[of.line].title), LINES[of.line].prior === "none" ? "" : ` ${LINES[of.line].prior}`,
      el("span", { class: "values" }, [["score", Number(of.score.toPrecision(3))], ...values.map(([name, value]) => [name.toUpperCase(), percent(value)])]
        .map(([name, value]) => el("span", {}, `${name} `, el("b", {}, String(value))))),
      el("span", { class: "quiet", title: of.id }, of.id.split("/").slice(-2).join("/")),
      el("button", { type: "button", class: "link", onclick: open, "data-id": `card:${of.key}:${of.category}:${of.kind}` }, "where from")));
}

// The colours of a map, as in the package's own pictures: the filter that paints the grey one.
function heatFilter() {
  const table = (c) => DATA.scale.map((rgb) => (rgb[c] / 255).toFixed(3)).join(" ");
  const channel = (name, c) => svg(`feFunc${name}`, { type: "table", tableValues: table(c) });
  const transfer = svg("feComponentTransfer", {}, channel("R", 0), channel("G", 1), channel("B", 2));
  const filter = svg("filter", { id: "heat", x: "0", y: "0", width: "1", height: "1", "color-interpolation-filters": "sRGB" }, transfer);
  return svg("svg", { width: 0, height: 0, class: "away", "aria-hidden": "true" }, filter);
}

function colours() {
  const steps = DATA.scale.map((rgb) => {
    const bit = el("span");
    bit.style.backgroundColor = `rgb(${rgb.join(",")})`;
    return bit;
  });
  return el("span", { class: "legend" }, "low ", el("span", { class: "ramp", "aria-hidden": "true" }, steps), " high");
}
