// When things ran: turns, code and calls of a session in lanes, and a row for each session below.

const LANES_MAX = 48; // more at once are drawn as a curve of how many ran
const ROWS_BELOW = 30;
const LANES_A_ROW = 6;
const CALLS_A_ROW = 200; // of more, some are drawn
const LANES_NOT_WELL = 12; // under a curve

// Each row gets the first lane that is free; what has no times cannot be drawn.
const lanesOf = (rows) => {
  const drawn = rows.filter((row) => row.start !== null).sort((a, b) => a.start - b.start);
  const free = [];
  for (const row of drawn) {
    row.until = row.end ?? (isRunning(row.status) ? now : row.start);
    const at = free.findIndex((until) => until <= row.start);
    row.lane = at < 0 ? free.length : at;
    free[row.lane] = Math.max(row.until, row.start + 0.001);
    if (free.length > LANES_MAX * 3) row.lane = LANES_MAX * 3; // nobody will see them
  }
  return { drawn, lanes: free.length, undrawn: rows.length - drawn.length };
};

const fitsLanes = ({ drawn, lanes }) => lanes <= LANES_MAX && !drawn.some((row) => row.kind === "call" && row.id === null);

// How many calls ran when, as the data has it where they are not all listed: steps.
const stepsOf = ([from, to, most]) => most.map((n, at) => [from + ((to - from) * at) / most.length, n]).concat([[to, 0]]);

// How many ran at each moment, as steps.
const runningOver = (drawn) => {
  const changes = drawn.flatMap((row) => [[row.start, 1], [Math.max(row.until, row.start + 0.5), -1]]);
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
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
    const [from, to] = ([this.from, this.to] = this.view ?? this.wide);
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
        svg("text", { x: Math.min(x, width - 4), y: 11, class: "tick", "text-anchor": x < 30 ? "start" : x > width - 40 ? "end" : "middle" }, tickTime(tick, step)));
    }
    picture.append(...this.parts);
    this.body.replaceChildren(picture);
    this.rest();
  }

  label(text, note) {
    const width = widthOf(text);
    const fits = note && fitted(note, this.width - width - 14, false);
    this.parts.push(svg("text", { x: 2, y: this.top + 11, class: "lane-label" }, text, fits && svg("tspan", { class: "lane-note", dx: 8 }, fits)));
    this.top += 17;
  }

  rows(kind, title) {
    const rows = this.session.rows[kind];
    if (!rows.length) return;
    const all = lanesOf(rows);
    const running = kind === "call" && this.session.running ? stepsOf(this.session.running) : runningOver(all.drawn);
    const most = kind === "call" ? this.session.peak : running.reduce((a, [, n]) => Math.max(a, n), 0);
    const undrawn = all.undrawn && `${count(all.undrawn)} without times ${all.undrawn === 1 ? "is" : "are"} not drawn`;
    // Too many for lanes, or bundles, which tell nothing of who ran beside whom: a curve, until a part is seen large enough.
    let { drawn, lanes } = all;
    if (!fitsLanes(all)) ({ drawn, lanes } = lanesOf(drawn.filter((row) => row.until >= this.from && row.start <= this.to)));
    const isCurve = !fitsLanes({ drawn, lanes });
    this.label(title, [most > 1 ? `up to ${count(most)} at once` : isCurve && "one at a time", isCurve && "drawn as how many ran", undrawn].filter(Boolean).join(" · "));
    if (isCurve) {
      this.curve(running, most);
      ({ drawn, lanes } = lanesOf(drawn.filter((row) => row.id !== null && statusKind(row.status) !== "well")));
      if (!drawn.length || lanes > LANES_NOT_WELL) return;
      const kinds = new Set(drawn.map((row) => statusKind(row.status)));
      this.label(title, `those ${[["error", "with an error"], ["interrupted", "interrupted"], ["running", "still running"]].filter(([kind]) => kinds.has(kind)).map(([, words]) => words).join(" or ")}`);
    }
    const height = kind === "turn" || lanes <= 12 ? 15 : lanes <= 20 ? 9 : 5;
    this.lanes(drawn, height);
    this.top += lanes * (height + 2) + 8;
  }

  // Each bar with the room there is up to the next one in its lane.
  lanes(drawn, height) {
    const next = [];
    const rooms = new Map();
    for (const row of drawn.toReversed()) {
      rooms.set(row, next[row.lane] ?? this.width);
      next[row.lane] = this.x(row.start);
    }
    for (const row of drawn) this.bar(row, this.top + row.lane * (height + 2), height, rooms.get(row));
  }

  bar(row, y, height, room) {
    const x = this.x(row.start);
    const length = Math.max(this.x(row.until) - x, 2.5);
    if (x > this.width || x + length < 0) return;
    const status = statusKind(row.status);
    const series = row.kind === "call" ? seriesOf(row) : null;
    const paint = row.kind === "call" ? (series === null ? "is-plain" : `series-${series}`) : `is-${row.kind}`;
    const box = { x, y, width: length, height, rx: Math.min(3, height / 3) };
    const group = svg("g", { class: `bar ${paint} is-${status}`, "data-bar": this.bars.length }, svg("rect", { ...box, class: "bar-body" }));
    if (status === "interrupted" || status === "error") group.append(svg("rect", { ...box, class: `bar-${status}` }));
    if (status === "running") group.append(svg("path", { d: `M${x + length} ${y} l5 ${height / 2} l-5 ${height / 2}z`, class: "bar-going" }));
    if (height >= 13) group.append(...this.barText(row, Math.max(x, 0), Math.min(x + length, this.width), y, status));
    if (group.childElementCount < 3 && status === "error" && height >= 9 && x + length + 13 <= Math.min(room, this.width))
      group.append(svg("text", { x: x + length + 2, y: y + height - 1, class: "bar-sign" }, MARKS.error));
    const target = row.id === null ? null : addressOf(this.session, row.kind, row.id);
    if (target) group.addEventListener("click", () => this.open(target));
    this.bars.push({ group, target, text: describe(row), x });
    this.parts.push(group);
  }

  // What stands in a bar, as far as it has room: on a plate of its own where the bar has a pattern.
  barText(row, left, right, y, status) {
    const text = row.kind === "turn" ? `turn ${row.id}` : row.kind === "eval" ? row.id
      : row.id === null ? `×${count(row.count)}` : row.child !== null ? `↳ ${sessions[row.child].name}` : row.id;
    const width = widthOf(text);
    const hasText = width + 10 <= right - left;
    const hasMark = row.kind === "turn" && status !== "well" && right - left >= (hasText ? width + 12 : 0) + 20;
    const plate = (at, wide) => status !== "well" && svg("rect", { x: at - 3, y: y + 2, width: wide + 6, height: 11, rx: 3, class: "plate" });
    const word = (at, wide, what) => [plate(at, wide), svg("text", { x: at, y: y + 11, class: "bar-text" }, what)];
    return [...(hasText ? word(left + 5, width, text) : []), ...(hasMark ? word(right - 15, 10, MARKS[status]) : [])].filter(Boolean);
  }

  curve(running, most) {
    const height = 70;
    const y = (n) => this.top + height - (n / Math.max(most, 1)) * height;
    let path = `M${this.x(running[0][0])} ${y(0)}`;
    for (const [at, n] of running) path += ` H${this.x(at).toFixed(1)} V${y(n).toFixed(1)}`;
    this.parts.push(svg("path", { d: `${path} V${y(0)}z`, class: "curve" }));
    this.top += height + 10;
  }

  below() {
    const children = this.session.children;
    if (!children.length) return;
    const shownChildren = this.all ? children : children.slice(0, ROWS_BELOW);
    this.label("sessions below", `${count(children.length)}, each in a row with the calls in it`);
    for (const child of shownChildren) this.childRow(child);
    if (shownChildren.length < children.length) this.label("", `${plural(children.length - shownChildren.length, "more session")}: the button below draws them`);
  }

  childRow(child) {
    const spans = withBelow(child).map(spanOf).filter(Boolean);
    const note = [!child.present && "not in this store", statusKind(child.status) !== "well" && child.status, plural(child.below[1], "call"),
      child.below[0] > 0 && `${plural(child.below[0], "session")} below`].filter(Boolean).join(" · ");
    const from = Math.min(...spans.map(([a]) => a));
    const to = Math.max(...spans.map(([, b]) => b));
    const x = spans.length ? Math.max(this.x(from), -4) : 2;
    const end = Math.min(Math.max(this.x(to), x + 3), this.width + 4);
    const length = spans.length && end > x ? end - x : 0; // none in sight is none
    // What ran at once is side by side here too, as far as a row has room.
    const calls = withBelow(child).flatMap((one) => one.rows.call).filter((call) => call.start !== null && call.child === null);
    const every = Math.ceil(calls.length / CALLS_A_ROW);
    const { drawn, lanes } = lanesOf(calls.filter((_, at) => at % every === 0));
    const rowLanes = Math.min(Math.max(lanes, 2), LANES_A_ROW);
    const height = rowLanes * 4 + 4;
    // The name stands beside the bar where there is room, and else on a line above it.
    const name = fitted(child.name, this.width * 0.7);
    const wide = widthOf(name) + 6 + widthOf(note, false) + 4;
    const after = length > 0 && Math.max(end, 0) + 6 + wide < this.width;
    const before = !after && length > 0 && x - 6 - wide > 0;
    if (!after && !before) this.top += 13;
    const group = svg("g", { class: `bar is-below is-${statusKind(child.status)}`, "data-bar": this.bars.length },
      length > 0 && svg("rect", { x, y: this.top, width: length, height, rx: 3, class: "bar-body" }));
    for (const call of drawn)
      group.append(svg("rect", { x: this.x(call.start), y: this.top + 2.5 + (call.lane % rowLanes) * 4, height: 3,
        width: Math.max(this.x(call.until) - this.x(call.start), 1.5), class: `dash is-${statusKind(call.status)} series-${seriesOf(call) ?? "none"}` }));
    group.append(svg("text", { x: after ? Math.max(end, 0) + 6 : before ? x - 6 : 2, y: after || before ? this.top + height / 2 + 4 : this.top - 3, class: "below-name", "text-anchor": before ? "end" : "start" },
      name, svg("tspan", { class: "lane-note", dx: 6 }, after || before ? note : fitted(note, this.width - widthOf(name) - 12, false))));
    group.addEventListener("click", () => this.open(addressOf(child)));
    const row = { kind: "session", id: child.name, status: child.status, start: spans.length ? from : null, end: to };
    this.bars.push({ group, target: addressOf(child), text: describe(row), x });
    this.parts.push(group);
    this.top += Math.max(height, 12) + 5;
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
  const names = new Map(calls.filter((call) => call.summed).map((call) => [seriesOf(call) === 6 ? OTHER_MODELS : modelName(call), seriesOf(call)]));
  const statuses = new Set([...session.rows.turn, ...calls].map((row) => statusKind(row.status)));
  const key = (paint, text) => el("li", null, svg("svg", { width: 22, height: 12, "aria-hidden": "true" }, paint), text);
  return el("ul", { class: "legend" },
    [...names].map(([name, series]) => key(svg("g", { class: `bar series-${series}` }, svg("rect", { width: 20, height: 11, rx: 3, class: "bar-body" })), clip(name))),
    calls.some((call) => !call.summed) && key(svg("g", { class: "bar is-plain" }, svg("rect", { x: 1, y: 1, width: 18, height: 10, rx: 3, class: "bar-body" })), "no model"),
    ["error", "interrupted"].filter((one) => statuses.has(one)).map((one) =>
      key(svg("g", { class: `bar is-plain is-${one}` }, svg("rect", { width: 20, height: 11, rx: 3, class: "bar-body" }), svg("rect", { width: 20, height: 11, rx: 3, class: `bar-${one}` })), one)),
    statuses.has("running") && key(svg("g", { class: "bar is-plain is-running" }, svg("rect", { x: 1, y: 1, width: 14, height: 10, class: "bar-body" }), svg("path", { d: "M15 1 l5 5 l-5 5z", class: "bar-going" })), "still running"));
};

const buildTimeline = (session) => {
  const timeline = new Timeline(session);
  if (!timeline.wide) return section("timeline", "Timeline", null, el("p", { class: "empty" }, session.counts[3] || session.counts[0] ? `None of its ${plural(session.counts[0], "turn")} and ${plural(session.counts[3], "call")} has a time.` : "No turns and no calls yet."));
  const panel = section("timeline", "Timeline", `from ${clock(timeline.wide[0])}, ${duration(timeline.wide[1] - timeline.wide[0])}`, legend(session), timeline.body, timeline.controls());
  panel.draw = () => timeline.draw();
  return panel;
};
