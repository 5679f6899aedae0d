// Elements made from text: nothing here or elsewhere takes markup.

// Characters that hide or reorder others are shown by their names.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/g;
const shown = (text) =>
  String(text).replace(HIDDEN, (char) => {
    const code = char.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(2)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : shown(child));
  }
  return element;
};

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// How wide a text is in a picture, in px, and as much of it as fits.
const pens = [600, 400].map((weight) => {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${weight} 11px ${getComputedStyle(document.body).fontFamily}`;
  return pen;
});
const widthOf = (text, isBold = true) => pens[isBold ? 0 : 1].measureText(shown(text)).width + 1;
const fitted = (text, most, isBold = true) => {
  if (widthOf(text, isBold) <= most) return text;
  let length = text.length - 1;
  while (length > 0 && widthOf(`${text.slice(0, length)}…`, isBold) > most) length -= 1;
  return length > 2 ? `${text.slice(0, length)}…` : "";
};

const clip = (text, most = 80) => (text.length > most ? `${text.slice(0, most)}…` : text);

const say = (text) => (document.getElementById("said").textContent = text);

const link = (session, kind, id, ...children) =>
  el("a", { href: addressOf(session, kind, id) }, children.length ? children : `${kind} ${id}`);

const MARKS = { well: "●", running: "◐", error: "✕", interrupted: "⊘" };

const badge = (status) =>
  el("span", { class: `badge is-${statusKind(status)}` },
    el("span", { "aria-hidden": "true" }, MARKS[statusKind(status)]), el("span", { class: "badge-text" }, status ?? "no status"));

// A text as it was recorded, with what of it is not in this file.
const textBlock = (text, kind = "prose") => {
  const left = leftOf(text);
  return [
    el("pre", { class: `text ${kind}`, dir: "auto" }, textOf(text)),
    left > 0 &&
      el("p", { class: "left" }, `${count(left)} more characters are not in this file; an export has them.`),
  ];
};

const section = (id, title, note, ...children) =>
  el("section", { class: "panel", "aria-labelledby": `${id}-title`, id },
    el("div", { class: "panel-head" }, el("h2", { id: `${id}-title` }, title), note && el("p", { class: "note" }, note)),
    children);

// A list that grows by a button: a page of a thousand rows stays light.
const PAGE_ROWS = 100;
const paged = (items, make, into, noun, first = PAGE_ROWS) => {
  let done = 0;
  const more = el("button", { type: "button", class: "more" });
  const show = (through) => {
    const end = Math.min(Math.max(through, done), items.length);
    into.append(...items.slice(done, end).flatMap(make));
    done = end;
    more.hidden = done >= items.length;
    const left = items.length - done;
    more.textContent = left > PAGE_ROWS ? `Show ${PAGE_ROWS} of the other ${count(left)} ${noun}` : `Show the other ${count(left)} ${noun}`;
    more.dataset.left = `${count(left)} more ${noun}`; // what a print says in its place
  };
  more.addEventListener("click", () => show(done + PAGE_ROWS));
  show(first);
  return { more, show };
};
