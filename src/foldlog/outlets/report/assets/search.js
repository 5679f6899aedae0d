// Search in what this file holds: every session, text, name and number of a row. Enter goes from hit to hit.

const FOUND_MAX = 100;
const MARKED_MAX = 500;
let index = null;
let asked = null; // the query as a pattern
let hits = [];
let hitAt = -1; // the hit that is shown
let hitPlace = null; // the element it is in

const textsOf = (row) =>
  [row.text, row.others, row.code, row.final, row.error, ...(row.texts ?? []).map(([, text]) => text)]
    .filter(Boolean).map(textOf);

// The texts as the page shows them, so that what is found here is found there.
const makeIndex = () => {
  const found = sessions.map((session) => ({ session, kind: null, id: null, event: 0, label: "session",
    text: [session.id, session.status, session.provider, textOf(session.prompt), textOf(session.error),
      textOf(session.lineage), session.place === 0 ? textOf(data.final.value) : null] }));
  for (const [kind, rows] of Object.entries(tables))
    for (const row of rows) {
      if (row.id === null) continue;
      const names = kind === "call" ? [row.model, row.type, row.provider, row.status, row.batch] : [row.role, row.status];
      found.push({ session: sessions[row.session], kind, id: row.id, event: row.event, label: `${row.role ?? kind} ${row.id}`,
        text: [`${kind} ${row.id}`, ...names, ...textsOf(row)] });
    }
  for (const entry of found) entry.text = shown(entry.text.filter(Boolean).join("\n"));
  return found.sort((a, b) => a.session.place - b.session.place || a.event - b.event);
};

// What is typed is text, in capitals or not: never a pattern.
const patternOf = (query) => new RegExp(query.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu");
const matchesIn = (text) => {
  asked.lastIndex = 0;
  return text.matchAll(asked);
};

const snippet = (entry) => {
  const match = matchesIn(entry.text).next().value;
  const end = match.index + match[0].length;
  const from = Math.max(0, match.index - 50);
  const text = (part) => part.replace(/\s+/g, " ");
  return [from > 0 && "…", text(entry.text.slice(from, match.index)), el("mark", null, match[0]), text(entry.text.slice(end, end + 110))];
};

const found = () => document.getElementById("found");

const search = (query) => {
  const panel = found();
  [hits, hitAt, hitPlace] = [[], -1, null];
  CSS.highlights?.delete("found");
  panel.hidden = query.length < 2;
  if (panel.hidden) return panel.replaceChildren();
  index ??= makeIndex();
  asked = patternOf(query);
  hits = index.filter((entry) => entry.text.search(asked) >= 0);
  const here = hits.findIndex((entry) => entry.session.place >= current.session.place);
  if (here > 0) hits.push(...hits.splice(0, here)); // the session that is shown goes first
  const said = hits.length ? `${count(hits.length)} found` : "Nothing found";
  const cut = data.text_chars < 6000 || Object.values(data.left_out).some((left) => left > 0);
  const button = (text, label, act) => el("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick: act }, text);
  panel.replaceChildren(
    el("div", { class: "found-head" }, el("h2", null, said),
      hits.length > 0 && [button("↑", "Previous (Shift Enter)", () => goTo(hitAt - 1)), button("↓", "Next (Enter)", () => goTo(hitAt + 1)), button("List", "List of what was found", () => listHits(panel.lastChild.hidden))],
      button("✕", "Close (Escape)", closeSearch),
      hits.length > FOUND_MAX && el("p", { class: "note" }, `The first ${FOUND_MAX} are listed.`),
      cut && el("p", { class: "note" }, "Searched is what this file holds, not what it leaves out.")),
    el("ol", null, hits.slice(0, FOUND_MAX).map((entry, at) => el("li", null,
      el("a", { href: addressOf(entry.session, entry.kind, entry.id), onclick: (event) => {
        event.preventDefault();
        goTo(at, false);
      } }, el("span", { class: "found-label" }, entry.label), el("span", { class: "dim" }, ` ${entry.session.id}`),
        el("span", { class: "snippet", dir: "auto" }, snippet(entry)))))));
  say(said);
};

const listHits = (isShown) => {
  found().lastChild.hidden = !isShown;
};

// Show a hit where it stands: unfolded, marked, in sight. Its address is in the history, once.
const goTo = (at, keepFocus = true) => {
  if (!hits.length) return;
  hitAt = (Math.max(at, -1) + hits.length) % hits.length;
  const { session, kind, id } = hits[hitAt];
  listHits(false);
  const address = addressOf(session, kind, id);
  if (location.hash !== address) history.pushState(null, "", address);
  hitPlace = route({ keepFocus: keepFocus || kind === null });
  if (hitPlace) markHits([hitPlace, ...placesUnder(hitPlace, kind, id)]);
  const said = `${count(hitAt + 1)} of ${count(hits.length)} found`;
  found().querySelector("h2").textContent = said;
  say(said);
};

// Where else the texts of a row are than at its place: a call's details, a turn's error and final value.
const placesUnder = (place, kind, id) =>
  kind === "call" ? [place.nextElementSibling] : kind === "turn" ? current.transcript.footOf(id) : [];

const markHits = (parts) => {
  parts[0].tabIndex = -1; // to go on from there
  const ranges = [];
  for (const part of parts) {
    for (const fold of part.querySelectorAll("details")) fold.open = true;
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < MARKED_MAX)
      for (const match of matchesIn(walker.currentNode.data)) {
        const range = new Range();
        range.setStart(walker.currentNode, match.index);
        range.setEnd(walker.currentNode, match.index + match[0].length);
        if (range.getClientRects().length) ranges.push(range);
      }
  }
  if (typeof Highlight === "function") CSS.highlights?.set("found", new Highlight(...ranges));
  if (ranges.length) bringIntoSight(ranges[0]);
};

const bringIntoSight = (range) => {
  const box = range.startContainer.parentElement.closest(".text");
  if (box && box.scrollHeight > box.clientHeight)
    box.scrollTop += range.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
  const { top, bottom } = range.getBoundingClientRect();
  if (top < 90 || bottom > innerHeight - 20) scrollBy(0, top - innerHeight / 3);
};

const closeSearch = () => {
  const place = hitPlace;
  const field = document.getElementById("query");
  field.value = "";
  search("");
  (place?.isConnected ? place : field).focus({ preventScroll: true });
};

const startSearch = () => {
  const field = document.getElementById("query");
  const queryOf = () => field.value.trim();
  let waiting = 0;
  let done = "";
  const now = () => {
    clearTimeout(waiting);
    if (done !== queryOf() || found().hidden) search((done = queryOf()));
  };
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(now, 120);
  });
  field.addEventListener("focus", () => field.value && now());
  document.getElementById("find").addEventListener("submit", (event) => event.preventDefault());
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      now();
      goTo(event.shiftKey ? hitAt - 1 : hitAt + 1);
    } else if (event.key === "ArrowDown" && hits.length) {
      event.preventDefault();
      listHits(true);
      found().querySelector("ol a").focus();
    }
  });
  found().addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = [...found().querySelectorAll("ol a")];
    const at = links.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    (links[at + step] ?? (step < 0 ? field : links[at])).focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && !found().hidden) closeSearch();
  });
};
