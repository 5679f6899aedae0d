// When things ran: turns, code and calls of a session in lanes, and a row for each session below.

const LANES_MAX = 48; // more at once are drawn as a curve of how many ran
const ROWS_BELOW = 30;
const LANES_A_ROW = 6;
const CALLS_A_ROW = 200; // of more, some are drawn
const laneHeight = (lanes) => (lanes <= 8 ? 15 : lanes <= 20 ? 9 : 5);

// Each row gets the first lane that is free; what has no times cannot be drawn.
const lanesOf = (rows) => {
  const drawn = rows.filter((row) => row.start !== null).sort((a, b) => a.start - b.start);
  const free = [];
  for (const row of drawn) {
    row.until = row.end ?? (isRunning(row.status) ? now : row.start);
    const at = free.findIndex((until) => until <= row.start);
    row.lane = at < 0 ? free.length : at;
    free[row.lane] = Math.max(row.until, row.start + 0.001);
    if (free.length > LANES_MAX * 3) break;
  }
  return { drawn, lanes: free.length, undrawn: rows.length - drawn.length };
};

// How many ran at each moment, as steps.
const runningOver = (drawn) => {
  const changes = drawn.flatMap((row) => [[row.start, row.count ?? 1],
    [row.end ?? (isRunning(row.status) ? now : row.start), -(row.count ?? 1)]]);
  changes.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  let running = 0;
  return changes.map(([at, change]) => [at, (running += change)]);
};

const describe = (row) => {
  const parts = [row.kind === "call" && row.id === null ? `${count(row.count)} calls` : `${row.kind} ${row.id}`];
  if (row.kind === "call") parts.push(row.type, row.model);
  parts.push(row.status, row.start === null ? "no times" : `${since(row.start)}, ${duration(lengthOf(row))}`);
  if (row.summed) parts.push(`${sumText(row.input)} in, ${sumText(row.output)} out`, sumText(row.usd, usd));
  if (row.kind === "call" && row.child !== null) parts.push(`leads to ${sessions[row.child].name}`);
  return parts.filter(Boolean).join(" · ");
};

const patterns = () =>
  svg("defs", null,
    svg("pattern", { id: "stripes", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 6, height: 6, class: "stripe-back" }), svg("rect", { width: 3, height: 6, class: "stripe" })),
    svg("pattern", { id: "dots", width: 6, height: 6, patternUnits: "userSpaceOnUse" },
      svg("rect", { width: 6, height: 6, class: "dot-back" }), svg("circle", { cx: 3, cy: 3, r: 1.4, class: "dot" })));

class Timeline {
  constructor(session) {
    this.session = session;
    this.view = null; // [from, to] while zoomed
    this.body = el("div", { class: "timeline", tabindex: "0", role: "group",
      "aria-label": "Timeline. Arrow keys go from bar to bar, Enter opens one, plus and minus zoom. The calls are in the table below, too." });
    this.tip = el("p", { class: "tip" });
    this.bars = [];
    this.at = -1;
    this.all = false;
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("pointermove", (event) => this.point(event.target.closest?.("[data-bar]")));
    this.body.addEventListener("pointerleave", () => this.rest());
    this.body.addEventListener("pointerdown", (event) => this.select(event));
    new ResizeObserver(() => {
      if (this.body.clientWidth && this.body.clientWidth !== this.width) this.draw();
    }).observe(this.body);
    this.wide = this.span();
  }

  span() {
    const spans = withBelow(this.session).map(spanOf).filter(Boolean);
    if (!spans.length) return null;
    const from = spans.reduce((a, [b]) => Math.min(a, b), Infinity);
    const to = spans.reduce((a, [, b]) => Math.max(a, b), -Infinity);
    return [from, Math.max(to, from + 1)];
  }

  draw() {
    const from = this.view?.[0] ?? this.wide[0];
    const to = this.view?.[1] ?? this.wide[1];
    const width = (this.width = this.body.clientWidth || 800);
    this.x = (at) => ((at - from) / (to - from)) * (width - 14) + 2;
    this.bars = [];
    this.top = 22;
    this.parts = [];
    this.rows("turn", "turns");
    this.rows("eval", "code");
    this.rows("call", "calls");
    this.below();
    const height = this.top + 4;
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, patterns());
    const step = timeTicks(to - from, Math.max(2, Math.floor(width / 110)))[1] ?? to - from;
    const zero = this.wide[0];
    for (let tick = Math.ceil((from - zero) / step) * step; zero + tick <= to; tick += step) {
      const x = Math.round(this.x(zero + tick)) + 0.5;
      picture.append(svg("line", { x1: x, x2: x, y1: 16, y2: height, class: "grid" }),
        svg("text", { x: Math.min(x, width - 4), y: 11, class: "tick", "text-anchor": x < 30 ? "start" : x > width - 40 ? "end" : "middle" }, tickTime(tick)));
    }
    picture.append(...this.parts);
    this.body.replaceChildren(picture);
    this.rest();
  }

  label(text, note) {
    this.parts.push(svg("text", { x: 2, y: this.top + 11, class: "lane-label" }, text,
      note && svg("tspan", { class: "lane-note", dx: 8 }, note)));
    this.top += 17;
  }

  rows(kind, title) {
    const rows = this.session.rows[kind];
    if (!rows.length) return;
    const { drawn, lanes, undrawn } = lanesOf(rows);
    const running = runningOver(drawn);
    // Bundles hide who ran beside whom; the session knows.
    const most = kind === "call" ? this.session.peak : running.reduce((a, [, n]) => Math.max(a, n), 0);
    const notes = [most > 1 && `up to ${count(most)} at once`, undrawn && `${count(undrawn)} without times are not drawn`];
    this.label(title, notes.filter(Boolean).join(" · "));
    if (lanes > LANES_MAX) return this.curve(running);
    const height = kind === "turn" ? 15 : laneHeight(lanes);
    for (const row of drawn) this.bar(row, this.top + row.lane * (height + 2), height);
    this.top += lanes * (height + 2) + 8;
  }

  bar(row, y, height) {
    const x = this.x(row.start);
    const length = Math.max(this.x(row.until) - x, 2.5);
    if (x > this.width || x + length < 0) return;
    const status = statusKind(row.status);
    const series = row.kind === "call" ? seriesOf(row) : null;
    const paint = row.kind === "call" ? (series === null ? "is-plain" : `series-${series}`) : `is-${row.kind}`;
    const group = svg("g", { class: `bar ${paint} is-${status}`, "data-bar": this.bars.length },
      svg("rect", { x, y, width: length, height, rx: Math.min(3, height / 3), class: "bar-body" }));
    if (status === "interrupted" || status === "error")
      group.append(svg("rect", { x, y, width: length, height, rx: Math.min(3, height / 3), class: `bar-${status}` }));
    if (status === "running") group.append(svg("path", { d: `M${x + length} ${y} l5 ${height / 2} l-5 ${height / 2}z`, class: "bar-going" }));
    const text = row.kind === "turn" ? `turn ${row.id}` : row.kind === "eval" ? `${row.id}`
      : row.id === null ? `×${count(row.count)}` : row.child !== null ? `↳ ${sessions[row.child].name}` : row.id;
    if (height >= 13 && length > 12 + text.length * 6.2) group.append(svg("text", { x: x + 5, y: y + height - 4, class: "bar-text" }, text));
    else if (status === "error" && height >= 9) group.append(svg("text", { x: x + length + 2, y: y + height - 1, class: "bar-sign" }, MARKS.error));
    if (row.kind === "turn" && status !== "well" && length > 90) group.append(svg("text", { x: x + length - 14, y: y + height - 4, class: "bar-text" }, MARKS[status]));
    const target = row.kind === "call" && row.id === null ? null : addressOf(this.session, row.kind, row.id);
    if (target) group.addEventListener("click", () => this.open(target));
    this.bars.push({ group, target, text: describe(row), x });
    this.parts.push(group);
  }

  curve(running) {
    const most = running.reduce((a, [, n]) => Math.max(a, n), 0);
    const height = 70;
    const y = (n) => this.top + height - (n / most) * height;
    let path = `M${this.x(running[0][0])} ${y(0)}`;
    for (const [at, n] of running) path += ` H${this.x(at).toFixed(1)} V${y(n).toFixed(1)}`;
    this.parts.push(svg("path", { d: `${path} V${y(0)}z`, class: "curve" }),
      svg("text", { x: this.width - 14, y: this.top + 10, class: "tick", "text-anchor": "end" }, `${count(most)} running`));
    this.top += height + 10;
  }

  below() {
    const children = this.session.children;
    if (!children.length) return;
    const shownChildren = this.all ? children : children.slice(0, ROWS_BELOW);
    this.label("sessions below", `${count(children.length)}, each in a row with the calls in it`);
    for (const child of shownChildren) {
      const spans = withBelow(child).map(spanOf).filter(Boolean);
      const note = [!child.present && "not in this store", statusKind(child.status) !== "well" && child.status, plural(child.below[1], "call"),
        child.below[0] > 0 && `${plural(child.below[0], "session")} below`].filter(Boolean).join(" · ");
      const from = Math.min(...spans.map(([a]) => a));
      const to = Math.max(...spans.map(([, b]) => b));
      const x = spans.length ? this.x(from) : 2;
      const length = spans.length ? Math.max(this.x(to) - x, 3) : 0;
      // What ran at once is side by side here too, as far as a row has room.
      const calls = withBelow(child).flatMap((one) => one.rows.call).filter((call) => call.start !== null && call.child === null);
      const every = Math.ceil(calls.length / CALLS_A_ROW);
      const { drawn, lanes } = lanesOf(calls.filter((_, at) => at % every === 0));
      const rowLanes = Math.min(Math.max(lanes, 2), LANES_A_ROW);
      const height = rowLanes * 4 + 4;
      const group = svg("g", { class: `bar is-below is-${statusKind(child.status)}`, "data-bar": this.bars.length },
        length > 0 && svg("rect", { x, y: this.top, width: length, height, rx: 3, class: "bar-body" }));
      for (const call of drawn)
        group.append(svg("rect", { x: this.x(call.start), y: this.top + 2.5 + ((call.lane ?? 0) % rowLanes) * 4, height: 3,
          width: Math.max(this.x(call.until ?? call.start) - this.x(call.start), 1.5), class: `dash is-${statusKind(call.status)} series-${seriesOf(call) ?? "none"}` }));
      // The name stands beside the bar where there is room, or over it.
      const wide = (child.name.length + note.length + 3) * 6.3;
      const after = x + length + 6 + wide < this.width;
      const before = !after && x - 6 - wide > 0;
      group.append(svg("text", { x: after ? x + length + 6 : before ? x - 6 : Math.max(x, 2) + 6, y: this.top + height / 2 + 4, class: after || before ? "below-name" : "below-name is-over",
        "text-anchor": before ? "end" : "start" }, child.name, svg("tspan", { class: "lane-note", dx: 6 }, note)));
      group.addEventListener("click", () => this.open(addressOf(child)));
      const row = { kind: "session", id: child.name, status: child.status, start: spans.length ? from : null, end: to };
      this.bars.push({ group, target: addressOf(child), text: describe(row), x });
      this.parts.push(group);
      this.top += Math.max(height, 12) + 5;
    }
    if (shownChildren.length < children.length) this.label("", `${count(children.length - shownChildren.length)} more sessions: the button below draws them`);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.bars.length) {
      this.at = (this.at + step + this.bars.length) % this.bars.length;
      this.point(this.bars[this.at].group);
      say(this.bars[this.at].text);
    } else if (event.key === "Enter" && this.bars[this.at]?.target) location.hash = this.bars[this.at].target;
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else return;
    event.preventDefault();
  }

  zoom(factor) {
    const [from, to] = this.view ?? this.wide;
    const bar = this.bars[this.at];
    const middle = bar ? from + ((bar.x - 2) / (this.width - 14)) * (to - from) : (from + to) / 2;
    const half = ((to - from) * factor) / 2;
    const found = [Math.max(middle - half, this.wide[0]), Math.min(middle + half, this.wide[1])];
    if (found[1] - found[0] >= 1) this.look(found);
  }

  // Show a part of the time, or all of it.
  look([from, to]) {
    const isAll = to - from >= (this.wide[1] - this.wide[0]) * 0.999;
    this.view = isAll ? null : [from, to];
    for (const button of this.sideways) button.hidden = isAll;
    this.at = -1;
    this.draw();
  }

  move(way) {
    const [from, to] = this.view ?? this.wide;
    const by = Math.min(Math.max(((to - from) / 2) * way, this.wide[0] - from), this.wide[1] - to);
    this.look([from + by, to + by]);
  }

  // What is drawn over with the pointer is shown larger.
  select(down) {
    if (down.pointerType === "touch" || down.button !== 0) return;
    const left = this.body.getBoundingClientRect().left;
    const begin = down.clientX - left;
    const box = svg("rect", { y: 0, height: this.top, class: "selection" });
    const edges = (event) => [begin, event.clientX - left].sort((a, b) => a - b).map((x) => Math.min(Math.max(x, 0), this.width));
    const onMove = (event) => {
      const [a, b] = edges(event);
      box.setAttribute("x", a);
      box.setAttribute("width", b - a);
      if (b - a > 6 && !box.isConnected) this.body.firstChild.append(box);
    };
    const onUp = (event) => {
      removeEventListener("pointermove", onMove);
      removeEventListener("pointerup", onUp);
      if (!box.isConnected) return;
      const [from, to] = this.view ?? this.wide;
      const at = (x) => Math.min(Math.max(from + ((x - 2) / (this.width - 14)) * (to - from), from), to);
      const [a, b] = edges(event).map(at);
      this.wasDrawn = true;
      setTimeout(() => (this.wasDrawn = false));
      if (b - a >= 1) this.look([a, b]);
      else box.remove();
    };
    addEventListener("pointermove", onMove);
    addEventListener("pointerup", onUp);
  }

  open(target) {
    if (!this.wasDrawn) location.hash = target;
  }

  point(group) {
    for (const one of this.body.querySelectorAll(".is-pointed")) one.classList.remove("is-pointed");
    if (!group) return this.rest();
    group.classList.add("is-pointed");
    this.tip.textContent = shown(this.bars[group.dataset.bar].text);
  }

  rest() {
    this.tip.textContent = "Point at a bar to read it, click to open it, draw over a part to see it larger.";
  }

  controls() {
    const button = (text, label, act) => el("button", { type: "button", class: "quiet", "aria-label": label, onclick: act }, text);
    this.sideways = [button("←", "Earlier", () => this.move(-1)), button("→", "Later", () => this.move(1)), button("All", "All of the time", () => this.look(this.wide))];
    for (const one of this.sideways) one.hidden = true;
    return el("div", { class: "row" }, this.tip, el("div", { class: "buttons" },
      this.session.children.length > ROWS_BELOW && button(`All ${count(this.session.children.length)} sessions`, null, (event) => {
        this.all = true;
        event.target.remove();
        this.draw();
      }),
      this.sideways, button("−", "Zoom out", () => this.zoom(2)), button("+", "Zoom in", () => this.zoom(0.5))));
  }
}

const legend = (session) => {
  const calls = withBelow(session).flatMap((one) => one.rows.call);
  const names = new Map(calls.filter((call) => call.summed).map((call) => [seriesOf(call) === 6 ? "other models" : modelName(call), seriesOf(call)]));
  const statuses = new Set([...session.rows.turn, ...calls].map((row) => statusKind(row.status)));
  const key = (paint, text) => el("li", null, svg("svg", { width: 22, height: 12, "aria-hidden": "true" }, paint), text);
  return el("ul", { class: "legend" },
    [...names].map(([name, series]) => key(svg("g", { class: `bar series-${series}` }, svg("rect", { width: 20, height: 11, rx: 3, class: "bar-body" })), clip(name))),
    calls.some((call) => !call.summed) && key(svg("g", { class: "bar is-plain" }, svg("rect", { x: 1, y: 1, width: 18, height: 10, rx: 3, class: "bar-body" })), "no model"),
    ["error", "interrupted"].filter((one) => statuses.has(one)).map((one) =>
      key(svg("g", { class: `bar is-plain is-${one}` }, svg("rect", { width: 20, height: 11, rx: 3, class: "bar-body" }), svg("rect", { width: 20, height: 11, rx: 3, class: `bar-${one}` })), one)),
    session.rows.call.some((call) => call.id === null) && el("li", null, "a bar may stand for many calls (×n)"),
    statuses.has("running") && key(svg("g", { class: "bar is-plain is-running" }, svg("rect", { x: 1, y: 1, width: 14, height: 10, class: "bar-body" }), svg("path", { d: "M15 1 l5 5 l-5 5z", class: "bar-going" })), "still running"));
};

const buildTimeline = (session) => {
  const timeline = new Timeline(session);
  if (!timeline.wide) return section("timeline", "Timeline", null, el("p", { class: "empty" }, session.counts[3] || session.counts[0] ? `None of its ${plural(session.counts[0], "turn")} and ${plural(session.counts[3], "call")} has a time.` : "No turns and no calls yet."));
  return section("timeline", "Timeline", `from ${clock(timeline.wide[0])}, ${duration(timeline.wide[1] - timeline.wide[0])}`, legend(session), timeline.body, timeline.controls());
};
