// Search in what this file holds: every session, text, name and number of a row.

const FOUND_MAX = 100;
let index = null;

const textsOf = (row) =>
  [row.text, row.others, row.code, row.final, row.error, ...(row.texts ?? []).map(([, text]) => text)]
    .filter(Boolean).map(textOf);

const makeIndex = () => {
  const found = sessions.map((session) => ({ session, kind: null, id: null, label: "session",
    text: [session.id, session.status, session.provider, textOf(session.prompt), textOf(session.error)].join("\n") }));
  for (const [kind, rows] of Object.entries(tables))
    for (const row of rows) {
      if (row.id === null) continue;
      const names = kind === "call" ? [row.model, row.type, row.provider, row.status, row.batch] : [row.role, row.status];
      found.push({ session: sessions[row.session], kind, id: row.id, label: `${row.role ?? kind} ${row.id}`,
        text: [`${kind} ${row.id}`, ...names.filter(Boolean), ...textsOf(row)].join("\n") });
    }
  for (const entry of found) entry.lower = entry.text.toLowerCase();
  return found;
};

const snippet = (entry, query) => {
  const at = entry.lower.indexOf(query);
  const from = Math.max(0, at - 50);
  const text = (part) => part.replace(/\s+/g, " ");
  return [from > 0 && "…", text(entry.text.slice(from, at)), el("mark", null, entry.text.slice(at, at + query.length)),
    text(entry.text.slice(at + query.length, at + query.length + 110))];
};

const search = (query) => {
  const panel = document.getElementById("found");
  panel.hidden = query.length < 2;
  if (panel.hidden) return panel.replaceChildren();
  index ??= makeIndex();
  const hits = index.filter((entry) => entry.lower.includes(query));
  const said = hits.length ? `${count(hits.length)} found` : "Nothing found";
  const cut = data.text_chars < 6000 || Object.values(data.left_out).some((left) => left > 0);
  panel.replaceChildren(
    el("div", { class: "found-head" }, el("h2", null, said), hits.length > FOUND_MAX && el("p", { class: "note" }, `the first ${FOUND_MAX} are shown`),
      cut && el("p", { class: "note" }, "Searched is what this file holds, not what it leaves out."), el("button", { type: "button", class: "quiet", onclick: closeSearch }, "Close")),
    el("ol", null, hits.slice(0, FOUND_MAX).map((entry) => el("li", null,
      el("a", { href: addressOf(entry.session, entry.kind, entry.id), onclick: () => (panel.hidden = true) },
        el("span", { class: "found-label" }, entry.label), el("span", { class: "dim" }, ` ${entry.session.id}`),
        el("span", { class: "snippet", dir: "auto" }, snippet(entry, query)))))));
  say(said);
};

const closeSearch = () => {
  const field = document.getElementById("query");
  field.value = "";
  search("");
  field.focus();
};

const startSearch = () => {
  const field = document.getElementById("query");
  let waiting = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => search(field.value.trim().toLowerCase()), 120);
  });
  field.addEventListener("focus", () => field.value && search(field.value.trim().toLowerCase()));
  document.getElementById("find").addEventListener("submit", (event) => {
    event.preventDefault();
    search(field.value.trim().toLowerCase());
    document.querySelector("#found a")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && !document.getElementById("found").hidden) closeSearch();
  });
};
