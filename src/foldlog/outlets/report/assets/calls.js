// The calls of a session: a table to sort and narrow down, each row with all that is known of it.

const KINDS_OF_CALLS = {
  all: () => true,
  "not ended well": (call) => statusKind(call.status) !== "well",
  "to a model": (call) => call.summed > 0,
  "to a session": (call) => call.child !== null,
};

const COLUMNS = [
  ["call", (call) => Number(call.id ?? Infinity) || call.event, (call) => call.id === null ? `×${count(call.count)}` : link(sessions[call.session], "call", call.id, call.id)],
  ["what", (call) => `${call.type} ${call.model}`, (call) => whatOf(call), "what"],
  ["status", (call) => call.status ?? "", (call) => badge(call.status)],
  ["turn", (call) => Number(call.turn) || 0, (call) => (call.turn === null ? "" : link(sessions[call.session], "turn", call.turn, call.turn)), "wide"],
  ["start", (call) => call.start ?? Infinity, (call) => since(call.start), "wide"],
  ["time", (call) => lengthOf(call) ?? -1, (call) => duration(lengthOf(call))],
  ["in", (call) => Number(call.input[0] ?? -1), (call) => sumCell(call, call.input), "wide"],
  ["out", (call) => Number(call.output[0] ?? -1), (call) => sumCell(call, call.output), "wide"],
  ["cost", (call) => Number(call.usd[0] ?? -1), (call) => sumCell(call, call.usd, usd), "wide"],
];
const NUMBERS = new Set(["start", "time", "in", "out", "cost", "turn"]);

const sumCell = (call, sum, format) =>
  call.summed ? el("span", { class: sum[0] === null ? "unknown" : null }, sumText(sum, format)) : "";

const whatOf = (call) => [
  el("span", { class: `dot back-series-${seriesOf(call) ?? "none"}`, "aria-hidden": "true" }),
  el("span", null, clip(call.model ?? call.type ?? "call")),
  call.model && call.type && el("span", { class: "dim" }, ` ${clip(call.type)}`),
  call.child !== null && [" ↳ ", link(sessions[call.child], null, null, sessions[call.child].name)],
];

const pair = (name, ...value) => el("div", null, el("dt", null, name), el("dd", null, value));

const callDetails = (call) => {
  const session = sessions[call.session];
  const facts = [
    call.status && pair("status", call.status), call.provider && pair("provider", call.provider), call.type && pair("type", call.type),
    pair("started", clock(call.start, 23)), pair("ended", call.end === null && isRunning(call.status) ? "still running" : clock(call.end, 23)),
    call.summed > 0 && [pair("input tokens", sumText(call.input)), pair("output tokens", sumText(call.output)),
      pair("total tokens", sumText(call.total)), pair("cached tokens", sumText(call.cached)), pair("cost", sumText(call.usd, usd))],
    call.turn !== null && pair("turn", link(session, "turn", call.turn)),
    call.eval !== null && pair("code", link(session, "eval", call.eval)),
    session.rows.message.some((row) => row.call === call.id) &&
      pair("messages", session.rows.message.filter((row) => row.call === call.id).flatMap((row) => [link(session, "message", row.id, row.id), " "])),
    call.child !== null && pair("leads to", link(sessions[call.child], null, null, sessions[call.child].id)),
    call.batch && pair("batch", call.batch),
  ];
  return el("div", { class: "details" }, el("dl", { class: "pairs" }, facts.filter(Boolean).flat()),
    call.texts.map(([name, text]) => el("div", null, el("h3", { class: "text-name" }, name), textBlock(text, "code"))));
};

class Calls {
  constructor(session) {
    this.session = session;
    this.kind = "all";
    this.sorted = null;
    this.body = el("tbody");
    this.heads = COLUMNS.map(([name, , , only], at) =>
      el("th", { scope: "col", class: [only, NUMBERS.has(name) && "number"].filter(Boolean).join(" ") || null },
        el("button", { type: "button", onclick: () => this.sort(at) }, name)));
    this.table = el("table", { class: "calls" }, el("caption", { class: "unseen" }, "Calls of this session"),
      el("thead", null, el("tr", null, this.heads, el("th", { class: "slim" }, el("span", { class: "unseen" }, "details")))), this.body);
    this.foot = el("div");
    this.chips = Object.entries(KINDS_OF_CALLS).map(([name, test]) => {
      const found = session.rows.call.filter(test).reduce((sum, call) => sum + call.count, 0);
      return (name === "all" || found > 0) && el("button", { type: "button", class: "chip", "data-kind": name, onclick: () => this.narrow(name) }, `${name} `, el("span", { class: "dim" }, count(found)));
    });
    this.fill();
  }

  narrow(kind) {
    this.kind = kind;
    this.fill();
    say(`${count(this.rows.length)} rows`);
  }

  sort(at) {
    const down = this.sorted?.at === at && !this.sorted.down;
    this.sorted = { at, down };
    this.heads.forEach((head, place) => (place === at ? head.setAttribute("aria-sort", down ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
    this.fill();
  }

  fill() {
    this.rows = this.session.rows.call.filter(KINDS_OF_CALLS[this.kind]);
    if (this.sorted) {
      const read = COLUMNS[this.sorted.at][1];
      const way = this.sorted.down ? -1 : 1;
      this.rows.sort((a, b) => (read(a) < read(b) ? -way : read(a) > read(b) ? way : 0));
    }
    for (const chip of this.chips) if (chip) chip.setAttribute("aria-pressed", chip.dataset.kind === this.kind);
    this.body.replaceChildren();
    this.pages = paged(this.rows, (call) => this.row(call), this.body, "rows");
    this.foot.replaceChildren(this.pages.more);
  }

  row(call) {
    const cells = COLUMNS.map(([name, , show, only]) => el("td", { class: [only, NUMBERS.has(name) && "number"].filter(Boolean).join(" ") || null }, show(call)));
    const row = el("tr", { class: `call is-${statusKind(call.status)}`, id: call.id === null ? null : `call-${call.id}` }, cells);
    if (call.id === null) {
      row.append(el("td"));
      row.classList.add("is-bundle");
      return [row];
    }
    const open = el("button", { type: "button", class: "fold", "aria-expanded": "false", "aria-label": `Details of call ${call.id}` });
    const toggle = (isOpen = open.getAttribute("aria-expanded") !== "true") => {
      if (isOpen === (open.getAttribute("aria-expanded") === "true")) return;
      open.setAttribute("aria-expanded", isOpen);
      if (isOpen) row.after(el("tr", { class: "under" }, el("td", { colspan: COLUMNS.length + 1 }, callDetails(call))));
      else row.nextElementSibling.remove();
    };
    row.openDetails = toggle;
    row.addEventListener("click", (event) => event.target.closest("a, button") || getSelection().toString() || toggle());
    open.addEventListener("click", () => toggle());
    row.append(el("td", { class: "slim" }, open));
    return [row];
  }

  reveal(id) {
    let at = this.rows.findIndex((call) => call.id === id);
    if (at < 0) {
      this.kind = "all";
      this.fill();
      at = this.rows.findIndex((call) => call.id === id);
    }
    if (at < 0) return null;
    this.pages.show(at + 1);
    const row = document.getElementById(`call-${id}`);
    row.openDetails(true);
    return row;
  }
}

const buildCalls = (session) => {
  if (!session.rows.call.length) return { panel: section("calls", "Calls", null, el("p", { class: "empty" }, "No calls.")), reveal: () => null };
  const calls = new Calls(session);
  const bundled = session.rows.call.filter((call) => call.id === null).reduce((sum, call) => sum + call.count, 0);
  const note = bundled > 0 && el("p", { class: "left" }, `${count(session.counts[3] - bundled)} of ${count(session.counts[3])} calls are listed one by one. The other ${count(bundled)} are bundled by what they have in common (×n): every sum and every plot counts them.`);
  return { panel: section("calls", "Calls", `${plural(session.counts[3], "call")} of this session`, el("div", { class: "chips", role: "group", "aria-label": "Which calls" }, calls.chips), note, el("div", { class: "calls-box" }, calls.table), calls.foot), reveal: (id) => calls.reveal(id) };
};
