// Elements. Text only ever becomes a text node, so whatever a row says is shown and never run.
const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}
const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
const find = (selector) => document.querySelector(selector);
const put = (selector, ...children) => find(selector).replaceChildren(...children.flat(Infinity).filter((child) => child !== null));

// `code` and *emphasis* of the notes, which are written for Markdown.
function marked(text) {
  return text.split(/(`[^`]+`|\*[^*\s][^*]*\*)/).map((part) => {
    if (/^`.+`$/.test(part)) return el("code", {}, part.slice(1, -1));
    return /^\*.+\*$/.test(part) ? el("em", {}, part.slice(1, -1)) : part;
  });
}

// A list of tick boxes behind a button; `chosen` null stands for all.
function choices(id, title, options, chosen, change) {
  const picked = new Set(chosen ?? options.map(([value]) => value));
  const boxes = options.map(([value, text]) => {
    const tick = () => {
      picked.has(value) ? picked.delete(value) : picked.add(value);
      change(picked.size === options.length ? null : options.map(([one]) => one).filter((one) => picked.has(one)));
    };
    const box = el("input", { type: "checkbox", checked: picked.has(value), onchange: tick, "data-id": `${id}:${value}` });
    return el("label", {}, box, text);
  });
  const count = chosen ? `${picked.size} of ${options.length}` : "all";
  const all = el("button", { type: "button", onclick: () => change(null), "data-id": `${id}:all` }, "All");
  const none = el("button", { type: "button", onclick: () => change([]), "data-id": `${id}:none` }, "None");
  const summary = el("summary", { "data-id": `${id}:summary` }, `${title}: `, el("b", {}, count));
  return el("details", { class: "choices", "data-open": id }, summary, el("div", {}, el("p", {}, all, none), boxes));
}

function select(id, title, options, value, change) {
  const box = el("select", { id, "data-id": id, onchange: (event) => change(event.target.value) },
    options.map(([key, text]) => el("option", { value: key }, text)));
  box.value = value;
  return el("label", { class: "field" }, el("span", {}, title), box);
}
