// Tokens and cost, by model and over time, of a session with all below it.

const CHART = { height: 190, left: 52, right: 8, top: 12, bottom: 20 };

// What a plot cannot show: [a name, how many calls' numbers are unknown] each, of so many calls.
const notDrawn = (pairs, calls) => {
  const unknown = pairs.filter(([, number]) => number > 0).map(([name, number]) => `${name} of ${number === calls ? allOf(calls) : `${count(number)} of ${plural(calls, "model call")}`}`);
  return [
    unknown.length > 0 && el("p", { class: "note" }, `Unknown and not drawn: ${unknown.join(", ")}.`),
    data.left_out.session > 0 && el("p", { class: "note" }, "The calls of sessions that are not in this file are not drawn."),
  ];
};

// What one bin of time has: a call counts when it ends, a bundle evenly over its time.
const binned = (session, bins, read) => {
  const calls = withBelow(session).flatMap((one) => one.rows.call).filter((call) => call.summed);
  const timed = calls.filter((call) => call.start !== null || call.end !== null);
  const ends = timed.map((call) => call.end ?? call.start);
  if (!timed.length) return null;
  const from = timed.reduce((a, call) => Math.min(a, call.start ?? call.end), Infinity);
  const to = Math.max(ends.reduce((a, b) => Math.max(a, b), -Infinity), from + 1);
  const place = (at) => Math.min(bins - 1, Math.max(0, Math.floor(((at - from) / (to - from)) * bins)));
  const found = Array.from({ length: bins }, () => new Map());
  timed.forEach((call, at) => {
    const last = place(ends[at]);
    const first = call.id === null && call.start !== null ? place(call.start) : last;
    for (const [series, amount] of read(call))
      for (let bin = first; bin <= last; bin++)
        found[bin].set(series, (found[bin].get(series) ?? 0) + amount / (last - first + 1));
  });
  return { found, from, to, untimed: calls.length - timed.length };
};

const frame = (width, ticks, length, format) => {
  const { height, left, right, top, bottom } = CHART;
  const most = ticks.at(-1);
  const y = (amount) => height - bottom - (amount / most) * (height - top - bottom);
  const x = (share) => left + share * (width - left - right);
  const parts = ticks.map((tick) => [
    svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: tick === 0 ? "axis" : "grid" }),
    svg("text", { x: left - 6, y: y(tick) + 4, class: "tick", "text-anchor": "end" }, format(tick))]);
  const times = timeTicks(length, Math.max(2, Math.floor((width - left) / 90)));
  for (const tick of times) {
    const at = x(tick / length);
    if (at < width - 24) parts.push(svg("text", { x: at, y: height - bottom + 15, class: "tick", "text-anchor": "middle" }, tickTime(tick, times[1])));
  }
  return { x, y, parts: parts.flat() };
};

const drawn = (label, draw) => {
  const holder = el("div", { class: "chart", role: "img", "aria-label": label });
  new ResizeObserver(() => {
    const width = holder.clientWidth;
    if (!width || holder.drawnWidth === width) return;
    holder.drawnWidth = width;
    holder.replaceChildren(svg("svg", { width, height: CHART.height, viewBox: `0 0 ${width} ${CHART.height}`, "aria-hidden": "true" }, patterns(), draw(width)));
  }).observe(holder);
  return holder;
};

const chartCard = (title, keys, ...children) =>
  el("figure", { class: "card" }, el("figcaption", null, el("h3", null, title), keys), children);

const keysOf = (pairs) => el("ul", { class: "legend" }, pairs.map(([paint, name]) =>
  el("li", null, svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, svg("rect", { width: 11, height: 11, rx: 2, class: `fill-${paint}` })), name)));

const tokensOverTime = (session, calls) => {
  const [input, output] = session.usage[0].slice(2);
  const title = "Tokens over time";
  if (input[0] === null && output[0] === null)
    return chartCard(title, null, el("p", { class: "empty" }, calls ? `Unknown for ${allOf(calls)}.` : "No model calls yet."));
  const read = (call) => [["input", Number(call.input[0] ?? 0)], ["output", Number(call.output[0] ?? 0)]];
  const unit = el("p", { class: "note" });
  if (!binned(session, 1, read)) return chartCard(title, null, el("p", { class: "empty" }, "The calls have no times."));
  const draw = (width) => {
    const bins = Math.max(12, Math.min(60, Math.floor(width / 14)));
    const { found, from, to } = binned(session, bins, read);
    const most = Math.max(...found.map((bin) => (bin.get("input") ?? 0) + (bin.get("output") ?? 0)));
    const { x, y, parts } = frame(width, ticksTo(most, 4), to - from, brief);
    unit.textContent = `tokens in each ${duration((to - from) / bins)} · time since the first call`;
    const thick = Math.max(2, x(1 / bins) - x(0) - 2);
    found.forEach((bin, at) => {
      let base = 0;
      for (const series of ["input", "output"]) {
        const amount = bin.get(series) ?? 0;
        if (amount) parts.push(svg("rect", { x: x(at / bins) + 1, width: thick, y: y(base + amount), height: Math.max(y(base) - y(base + amount), 0.6), class: `fill-${series}` },
          svg("title", null, `${since((at / bins) * (to - from))}: ${plural(Math.round(amount), `${series} token`)}`)));
        base += amount;
      }
    });
    return parts;
  };
  return chartCard(title, keysOf([["input", "input"], ["output", "output"]]),
    drawn(`Bars of tokens over time: ${sumText(input)} input and ${sumText(output)} output tokens in all.`, draw), unit,
    notDrawn(input[1] === output[1] ? [["the tokens", input[1]]] : [["the input tokens", input[1]], ["the output tokens", output[1]]], calls));
};

const costOverTime = (session, calls) => {
  const cost = session.usage[0][6];
  const title = "Cost, adding up";
  if (cost[0] === null)
    return chartCard(title, null, el("p", { class: "empty" }, calls ? `Unknown for ${allOf(calls)}.` : "No model calls yet."));
  const read = (call) => (call.usd[0] === null ? [] : [[seriesOf(call), Number(call.usd[0])]]);
  if (!binned(session, 1, read)) return chartCard(title, null, el("p", { class: "empty" }, "The calls have no times."));
  const draw = (width) => {
    const bins = Math.max(24, Math.min(240, Math.floor(width / 3)));
    const { found, from, to } = binned(session, bins, read);
    const all = [...new Set(found.flatMap((bin) => [...bin.keys()]))].sort();
    const sums = new Map(all.map((series) => [series, 0]));
    const steps = found.map((bin) => {
      for (const [series, amount] of bin) sums.set(series, sums.get(series) + amount);
      return new Map(sums);
    });
    const most = [...sums.values()].reduce((a, b) => a + b, 0);
    const { x, y, parts } = frame(width, ticksTo(most, 4), to - from, (tick) => (tick === 0 ? "$0" : `$${Number(tick.toPrecision(3))}`));
    all.forEach((series, at) => {
      const base = (step) => all.slice(0, at).reduce((sum, one) => sum + step.get(one), 0);
      let path = `M${x(0)} ${y(0)}`;
      steps.forEach((step, bin) => (path += ` V${y(base(step) + step.get(series)).toFixed(1)} H${x((bin + 1) / bins).toFixed(1)}`));
      for (let bin = bins - 1; bin >= 0; bin--) path += ` V${y(base(steps[bin])).toFixed(1)} H${x(bin / bins).toFixed(1)}`;
      parts.push(svg("path", { d: `${path}z`, class: `fill-series-${series} area` }));
    });
    return parts;
  };
  const names = new Map(session.models.map((row) => [seriesByModel.get(modelName(row)) ?? 6, modelName(row)]));
  const drawnSeries = [...new Set(binned(session, 1, read).found.flatMap((bin) => [...bin.keys()]))].sort();
  return chartCard(title, keysOf(drawnSeries.map((series) => [`series-${series}`, series === 6 ? OTHER_MODELS : clip(names.get(series))])),
    drawn(`Cost adding up over time to ${usd(cost[0])}.`, draw), el("p", { class: "note" }, "US dollars · time since the first call"), notDrawn([["the cost", cost[1]]], calls));
};

const USAGE_COLUMNS = ["model", "model calls", "input tokens", "output tokens", "total tokens", "cached tokens", "cost (US$)"];

const byModel = (session) => {
  const tokens = (row) => Number(row.input[0] ?? 0) + Number(row.output[0] ?? 0);
  const most = Math.max(...session.models.map(tokens), 1);
  const cell = (sum, calls, format, at) =>
    el("td", { "data-label": USAGE_COLUMNS[at + 2], class: sum[0] === null ? "unknown" : null }, sumText(sum, format), sum[0] !== null && sum[1] > 0 && el("span", { class: "partly" }, ` + ${count(sum[1])} unknown`));
  const bar = (row) => {
    const holder = el("span", { class: "model-bar", "aria-hidden": "true" });
    for (const series of ["input", "output"]) {
      const part = el("span", { class: `back-${series}` });
      part.style.width = `${(Number(row[series][0] ?? 0) / most) * 100}%`;
      holder.append(part);
    }
    return holder;
  };
  const row = (one) =>
    el("tr", null,
      el("th", { scope: "row" }, el("span", { class: `dot back-series-${seriesByModel.get(modelName(one)) ?? 6}`, "aria-hidden": "true" }), clip(modelName(one)),
        one.provider && one.model && el("span", { class: "dim" }, ` ${clip(one.provider, 40)}`), bar(one)),
      el("td", { "data-label": "model calls" }, count(one.calls)),
      [one.input, one.output, one.total, one.cached, one.usd].map((sum, at) => cell(sum, one.calls, at === 4 ? usd : count, at)));
  const [calls, status, ...sums] = session.usage[0];
  const foot = el("tr", { class: "sum" }, el("th", { scope: "row" }, "all together"), el("td", { "data-label": "model calls" }, count(calls)),
    sums.map((sum, at) => cell(sum, calls, at === 4 ? usd : count, at)));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Usage by model" },
    el("table", { class: "figures" }, el("caption", { class: "unseen" }, "Tokens and cost by model"),
      el("thead", null, el("tr", null, USAGE_COLUMNS.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, session.models.map(row)), el("tfoot", null, foot, session.below[0] > 0 && partsTable(session.usage).filter(Boolean))));
};

const buildUsage = (session) => {
  const calls = session.usage[0][0];
  return section("usage", "Tokens and cost", session.below[0] ? "with the sessions below" : null,
    el("div", { class: "cards" }, tokensOverTime(session, calls), costOverTime(session, calls)), calls > 0 && byModel(session));
};
