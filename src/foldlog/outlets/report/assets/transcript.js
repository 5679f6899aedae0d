// What was said and run, in the order it was recorded: turns with messages, code and calls.

const ROLES_OPEN = new Set(["user", "assistant"]);
const OPEN_CHARS = 2500;

const firstLine = (text) => {
  const head = textOf(text).trimStart().slice(0, 400);
  const first = head.split("\n", 1)[0];
  const line = first.length < 3 ? head.replace(/\s+/g, " ") : first; // a bracket alone tells nothing
  return line.length > 140 ? `${line.slice(0, 140)}…` : line;
};

// Gone where the text itself is unfolded below it.
const preview = (text) => el("span", { class: "preview" }, firstLine(text));

const fold = (isOpen, summary, ...children) => el("details", { class: "fold-text", open: isOpen }, el("summary", null, summary), children);

const entryHead = (row, name, ...facts) =>
  el("header", { class: "entry-head" }, el("span", { class: "entry-name" }, name), facts, link(sessions[row.session], row.kind, row.id, `#${row.id}`));

// A run that was journaled later has messages of another time than its calls.
const recordedAt = (row) => {
  const end = spanOf(sessions[row.session])?.[1];
  return end === undefined || Math.abs(row.at - end) < 36e5 || row.at < end ? since(row.at) : `recorded ${clock(row.at)}`;
};

const messageEntry = (row) => {
  const role = row.role ?? "message";
  const text = textOf(row.text);
  const body = row.text === null
    ? el("p", { class: "dim" }, row.others ? "(no text)" : "(empty)")
    : ROLES_OPEN.has(role) && text.length <= OPEN_CHARS
      ? textBlock(row.text)
      : fold(false, [preview(row.text), el("span", { class: "dim" }, ` ${plural(text.length + leftOf(row.text), "character")}`)], textBlock(row.text));
  return el("article", { class: `entry role-${["user", "assistant", "system"].includes(role) ? role : "observation"}`, id: `message-${row.id}` },
    entryHead(row, role, row.at !== null && el("span", { class: "dim" }, recordedAt(row)), row.call !== null && link(sessions[row.session], "call", row.call, `call ${row.call}`)),
    body, row.others && fold(row.text === null, "other keys", textBlock(row.others, "code")));
};

const evalEntry = (row) => {
  const lines = textOf(row.code).split("\n").length;
  return el("article", { class: `entry code-entry is-${statusKind(row.status)}`, id: `eval-${row.id}` },
    entryHead(row, "code", badge(row.status), el("span", { class: "dim" }, row.elapsed_ms !== null ? duration(row.elapsed_ms) : timeOf(row)),
      row.message !== null && link(sessions[row.session], "message", row.message, `message ${row.message}`), row.call !== null && link(sessions[row.session], "call", row.call, `call ${row.call}`)),
    row.code && fold(false, [el("code", null, preview(row.code)), el("span", { class: "dim" }, ` ${plural(lines, "line")}`)], textBlock(row.code, "code")),
    row.texts.map(([name, text]) => fold(name === "error", [el("span", { class: "text-name" }, name), " ", el("code", null, preview(text))], textBlock(text, "code"))));
};

const callEntry = (row) => {
  const facts = [timeOf(row), row.summed && (row.input[0] === null && row.output[0] === null ? "tokens unknown" : `${sumText(row.input)} in, ${sumText(row.output)} out`), row.summed && row.usd[0] !== null && sumText(row.usd, usd)];
  return el("p", { class: "entry call-entry" }, el("span", { class: `mark is-${statusKind(row.status)}`, title: row.status }, MARKS[statusKind(row.status)]), " ",
    row.id === null ? `${count(row.count)} calls` : link(sessions[row.session], "call", row.id), " ", whatOf(row), el("span", { class: "dim" }, ` · ${facts.filter(Boolean).join(" · ")}`));
};

const ENTRIES = { message: messageEntry, eval: evalEntry, call: callEntry };
const CALLS_AT_ONCE = 12;

// Many calls in a row are one folded entry.
const gathered = (rows) => {
  const found = [];
  for (const row of rows) {
    const last = found.at(-1);
    if (row.kind === "call" && last?.calls) last.calls.push(row);
    else found.push(row.kind === "call" ? { calls: [row] } : row);
  }
  return found.flatMap((one) => (one.calls && one.calls.length <= CALLS_AT_ONCE ? one.calls : [one]));
};

const manyCalls = ({ calls }) => {
  const body = el("div");
  const details = fold(false, `${plural(calls.reduce((sum, row) => sum + row.count, 0), "call")}`, body);
  const fillOnce = () => body.childElementCount || body.append(paged(calls, (row) => [callEntry(row)], body, "calls").more);
  details.addEventListener("toggle", fillOnce);
  return el("div", { class: "entry" }, details);
};

const entryOf = (item) => (item.calls ? manyCalls(item) : item.gap ? el("p", { class: "left entry" }, `${plural(item.gap, item.noun)} here ${item.gap === 1 ? "is" : "are"} not in this file.`) : ENTRIES[item.kind](item));

const turnHead = (session, turn) => {
  const calls = session.rows.call.filter((call) => call.turn === turn.id && call.summed);
  return el("header", { class: `turn-head is-${statusKind(turn.status)}`, id: `turn-${turn.id}` },
    el("h3", null, link(session, "turn", turn.id, `Turn ${turn.id}`)), badge(turn.status),
    el("span", { class: "dim" }, [since(turn.start), timeOf(turn), turn.calls && plural(turn.calls, "call"), calls.length && turn.evals && plural(turn.evals, "eval")].filter(Boolean).join(" · ")));
};

const turnFoot = (turn) => [
  turn.error && el("div", { class: "entry callout is-error", "data-turn": turn.id }, el("p", { class: "text-name" }, `${MARKS.error} error`), textBlock(turn.error, "code")),
  turn.final && el("div", { class: "entry", "data-turn": turn.id }, fold(textOf(turn.final).length < 300, [el("span", { class: "text-name" }, "final value"), " ", el("code", null, preview(turn.final))], textBlock(turn.final, "code"))),
];

// Rows of the file have gaps where a session is too long for it: said where they are.
const withGaps = (rows, noun) => rows.flatMap((row, at) => {
  const gap = row.seq - (at ? rows[at - 1].seq : row.seq) - 1;
  return gap > 0 ? [{ gap, noun, event: row.event - 0.5, turn: row.turn ?? null }, row] : [row];
});

// The entries in order: a turn's under its head, wherever others came between.
const inTurns = (session) => {
  const turns = new Map(session.rows.turn.map((turn) => [turn.id, { turn, event: turn.event, rows: [] }]));
  const loose = [];
  const { message, call } = session.rows;
  for (const row of [...withGaps(message, "message"), ...withGaps(session.rows.eval, "eval"), ...call])
    (turns.get(row.turn)?.rows ?? loose).push(row);
  const byEvent = (a, b) => a.event - b.event;
  const blocks = gathered([...turns.values(), ...loose].sort(byEvent));
  return blocks.flatMap((block) => (block.turn?.kind ? [block, ...gathered(block.rows.sort(byEvent)), { footOf: block.turn }] : [block]));
};

const buildTranscript = (session) => {
  const items = inTurns(session);
  if (!items.length) return { panel: section("transcript", "Transcript", null, el("p", { class: "empty" }, "Nothing has been recorded yet.")), reveal: () => null };
  const body = el("div", { class: "transcript" });
  const elementsOf = (item) => (item.turn?.kind ? [turnHead(session, item.turn)] : item.footOf ? turnFoot(item.footOf).filter(Boolean) : [entryOf(item)]);
  const isUnfolded = () => unfold.getAttribute("aria-pressed") === "true";
  const unfold = el("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Unfold all");
  unfold.addEventListener("click", () => {
    const isOpen = !isUnfolded();
    unfold.setAttribute("aria-pressed", isOpen);
    unfold.textContent = isOpen ? "Fold all" : "Unfold all";
    for (const one of body.querySelectorAll("details")) one.open = isOpen;
  });
  const make = (item) => {
    const made = elementsOf(item);
    if (isUnfolded()) for (const one of made) one.querySelectorAll("details").forEach((fold) => (fold.open = true));
    return made;
  };
  const pages = paged(items, make, body, "entries");
  const reveal = (kind, id) => {
    const at = items.findIndex((item) => (kind === "turn" ? item.turn?.kind && item.turn.id === id : item.kind === kind && item.id === id));
    if (at < 0) return null;
    pages.show(at + 20);
    const found = document.getElementById(`${kind}-${id}`);
    for (const one of found.querySelectorAll("details")) one.open = true;
    return found;
  };
  // What stands under a turn's last entry: its error, its final value.
  const footOf = (id) => {
    pages.show(items.findIndex((item) => item.footOf?.id === id) + 1);
    return [...body.querySelectorAll(`[data-turn="${CSS.escape(id)}"]`)];
  };
  return { panel: section("transcript", "Transcript", `${plural(session.counts[1], "message")}, ${plural(session.counts[2], "piece")} of code`, el("div", { class: "row" }, unfold), body, pages.more), reveal, footOf, showAll: () => pages.show(items.length) };
};
