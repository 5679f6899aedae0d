// What a session is and what has become of it: the head of the page.

// A long number may be broken after a comma, and nowhere else.
const breakable = (value) => String(value).split(/(?<=,)/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]));

const tile = (label, value, note, isUnknown) =>
  el("div", { class: `tile${isUnknown ? " is-unknown" : ""}` }, el("dt", null, label),
    el("dd", null, el("span", { class: `tile-value${String(value).length > 9 ? " is-long" : ""}` }, breakable(value)), note && el("span", { class: "tile-note" }, note)));

const sumTile = (label, sum, calls, format) =>
  tile(label, sumText(sum, format), sumNote(sum, calls), sum[0] === null);

const crumbs = (session) => {
  const above = [];
  for (let at = session; at.parent !== null; ) above.unshift((at = sessions[at.parent]));
  if (!above.length) return null;
  return el("nav", { class: "crumbs", "aria-label": "Sessions above" },
    el("ol", null, above.map((one) => el("li", null, link(one, null, null, one.parent === null ? one.id : one.name)))));
};

const findSpan = (session) => {
  let [from, to] = [Infinity, -Infinity];
  for (const row of [...session.rows.turn, ...session.rows.call, ...session.rows.eval]) {
    const end = row.end ?? (isRunning(row.status) ? now : null);
    if (row.start !== null) from = Math.min(from, row.start);
    if (end !== null) to = Math.max(to, end);
  }
  return from <= to && Number.isFinite(from) ? [from, to] : null;
};
const spanOf = (session) => (session.span === undefined ? (session.span = findSpan(session)) : session.span);

const partsTable = ([, ...groups]) => {
  const names = ["root calls of this session", "leaf calls of this session"];
  const row = (name, [calls, , ...sums]) =>
    el("tr", null, el("th", { scope: "row" }, name), el("td", { "data-label": "model calls" }, count(calls)),
      sums.map((sum, at) => el("td", { "data-label": USAGE_COLUMNS[at + 2], class: sum[0] === null ? "unknown" : null, title: sumNote(sum, calls) },
        sumText(sum, at === 4 ? usd : count))));
  return groups.map((group, at) => group[0] > 0 && row(names[at], group));
};

const lineageOf = (session) => [
  session.call !== null && session.parent !== null &&
    el("p", { class: "note" }, `${session.edge === "attached" ? "Attached" : "Started"} by `,
      link(sessions[session.parent], "call", session.call), " of ", link(sessions[session.parent], null, null, sessions[session.parent].name), "."),
  session.lineage && el("details", { class: "fold-text" }, el("summary", null, "Where it comes from"), textBlock(session.lineage, "code")),
];

const buildFacts = (session) => {
  const head = el("header", { class: "head" }, crumbs(session),
    el("div", { class: "title" }, el("h1", null, session.parent === null ? session.id : session.name), badge(session.status)));
  if (!session.present) {
    head.append(el("p", null, session.status === "referenced"
      ? "This session stands in this tree more than once; its rows are shown at "
      : "This session is not in the store: what it took is unknown.",
    session.status === "referenced" && link(sessions[placesById.get(session.id)], null, null, "its first place"), "."));
    return head;
  }
  if (session.prompt) head.append(el("p", { class: "prompt", dir: "auto" }, textOf(session.prompt).slice(0, 400)));
  const span = spanOf(session);
  const [turns, messages, evals, calls, snapshots] = session.counts;
  const [below, callsBelow] = session.below;
  const [modelCalls, , input, output, total, cached, cost] = session.usage[0];
  head.append(
    el("dl", { class: `tiles${below ? " of-9" : ""}` },
      tile("Duration", duration(span ? span[1] - span[0] : null), isRunning(session.status) ? "so far" : span ? `from ${clock(span[0])}` : `recorded ${clock(session.start)}`, !span),
      below > 0 && tile("Sessions below", count(below), session.children.length < below ? `${count(session.children.length)} directly` : null),
      tile("Turns", count(turns), `${plural(messages, "message")}, ${plural(evals, "eval")}${snapshots ? `, ${plural(snapshots, "snapshot")}` : ""}`),
      tile("Calls", count(callsBelow), `${below ? `${count(calls)} of its own, ` : ""}${count(modelCalls)} to a model`),
      sumTile("Cost", cost, modelCalls, usd),
      sumTile("Input tokens", input, modelCalls), sumTile("Output tokens", output, modelCalls),
      sumTile("Total tokens", total, modelCalls), sumTile("Cached tokens", cached, modelCalls)),
    el("p", { class: "note" }, below ? "Calls, tokens and cost include the sessions below. Tokens and cost are of calls to a model." : "",
      isRunning(session.status) ? ` As of ${clock(now)}: it was still running.` : ""),
    ...lineageOf(session).filter(Boolean));
  if (session.error) head.append(el("div", { class: "callout is-error" }, el("h2", null, `${MARKS.error} Error`), textBlock(session.error, "code")));
  const value = session.place === 0 ? data.final.value : null;
  if (value) head.append(el("details", { class: "callout", open: textOf(value).length < 600 },
    el("summary", null, "Final value"), textBlock(value, "code")));
  return head;
};
