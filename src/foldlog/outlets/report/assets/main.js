// The page as a whole: which session is shown, by the address after '#'; light and dark; what print needs.

let current = null;

const buildErrors = (session) => {
  const found = withBelow(session).flatMap((one) => one.errors);
  if (!found.length) return null;
  const whole = session.place === 0 ? data.errors.count : found.length;
  // The same words many times over are said once, with the places.
  const groups = new Map();
  for (const row of found) {
    const key = `${row.status}\n${JSON.stringify(row.text)}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const below = (at) => (at.id.startsWith(`${session.id}/`) ? at.id.slice(session.id.length + 1) : at.id);
  const place = (row) => {
    const at = sessions[row.session];
    return el("li", null, row.kind === "session" ? link(at, null, null, "session") : link(at, row.kind, row.id),
      el("span", { class: "dim" }, at !== session && [" in ", link(at, null, null, below(at))], ` ${since(row.at)}`));
  };
  const item = (rows) => {
    const places = el("ul", { class: "error-rows" });
    const { more } = paged(rows, (row) => [place(row)], places, "places", 12);
    return el("li", { class: `is-${statusKind(rows[0].status)}` }, el("p", null, badge(rows[0].status), rows.length > 1 && el("span", { class: "dim" }, ` ${count(rows.length)} times`)),
      rows[0].text && textBlock(rows[0].text, "code"), places, more);
  };
  const list = el("ol", { class: "errors" });
  const { more } = paged([...groups.values()], (rows) => [item(rows)], list, "errors", 20);
  return section("errors", "Errors and interruptions", `${count(whole)}${session.below[0] ? " with the sessions below" : ""}`,
    whole > found.length && el("p", { class: "left" }, `The first ${count(found.length)} are in this file.`), list, more);
};

const jumps = (panels) =>
  el("nav", { class: "jumps", "aria-label": "Parts of this session" }, panels.filter(Boolean).map((panel) =>
    el("button", { type: "button", onclick: () => panel.scrollIntoView() }, panel.querySelector("h2").textContent)));

const show = (session) => {
  current = { session };
  const main = document.getElementById("main");
  document.title = `${session.id} · foldlog report`;
  if (!session.present) {
    main.replaceChildren(buildFacts(session));
    return markTree(session);
  }
  const calls = buildCalls(session);
  const transcript = buildTranscript(session);
  current.transcript = transcript;
  current.reveal = { call: (id) => calls.reveal(id), turn: (id) => transcript.reveal("turn", id),
    message: (id) => transcript.reveal("message", id), eval: (id) => transcript.reveal("eval", id) };
  const panels = [buildTimeline(session), buildUsage(session), buildErrors(session), calls.panel, transcript.panel];
  main.replaceChildren(buildFacts(session), jumps(panels), ...panels.filter(Boolean));
  panels[0].draw?.(); // now, not when its size is first observed: what is scrolled to stays where it is
  markTree(session);
};

// What cannot be shown is said where it will be seen.
const notice = (text) => {
  document.getElementById("notice")?.remove();
  if (!text) return;
  document.getElementById("main").prepend(el("p", { class: "notice", id: "notice" }, text));
  scrollTo(0, 0);
  say(text);
};

const reveal = (kind, id, keepFocus) => {
  const found = current.reveal?.[kind]?.(id);
  if (!found) {
    const left = data.left_out[kind] ?? 0;
    notice(`There is no ${kind} ${id} of ${current.session.id} in this file.${left ? ` ${plural(left, kind)} ${left === 1 ? "is" : "are"} not in it one by one: the foot of the page says how to get them.` : ""}`);
    return null;
  }
  found.scrollIntoView({ block: "start" });
  found.classList.add("is-aimed");
  setTimeout(() => found.classList.remove("is-aimed"), 2000);
  found.tabIndex = -1;
  if (!keepFocus) found.focus({ preventScroll: true });
  return found;
};

// Show what the address names; a search that leads there keeps its focus, and is given where it led.
const route = ({ keepFocus = false } = {}) => {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const session = sessions[placesById.get(wanted.get("s")) ?? 0];
  const isNew = current?.session !== session;
  if (isNew) show(session);
  notice(null);
  if (wanted.has("s") && !placesById.has(wanted.get("s"))) return notice(`There is no session ${wanted.get("s")} in this file. This is ${session.id}.`);
  const kind = ["call", "turn", "message", "eval"].find((one) => wanted.has(one));
  if (kind) return reveal(kind, wanted.get(kind), keepFocus);
  if (keepFocus) return document.querySelector(".head");
  if (isNew && wanted.has("s")) {
    scrollTo(0, 0);
    document.getElementById("main").focus({ preventScroll: true });
    say(`Session ${session.id}`);
  }
};

const THEMES = { auto: ["◐", "as the system has it"], light: ["☀", "light"], dark: ["☾", "dark"] };

const startTheme = () => {
  const button = document.getElementById("theme");
  const names = Object.keys(THEMES);
  const use = (name) => {
    document.documentElement.dataset.theme = name;
    button.textContent = THEMES[name][0];
    button.setAttribute("aria-label", `Colours: ${THEMES[name][1]}. Change`);
    button.title = `Colours: ${THEMES[name][1]}`;
  };
  let stored = null;
  try {
    stored = localStorage.getItem("foldlog-report-theme");
  } catch {
    // a page from a file may have no storage: the choice then lasts as long as the page
  }
  use(names.includes(stored) ? stored : "auto");
  button.addEventListener("click", () => {
    use(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
    try {
      localStorage.setItem("foldlog-report-theme", document.documentElement.dataset.theme);
    } catch {
      // as above
    }
  });
};

const buildFoot = () => {
  const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const left = Object.entries(data.left_out).filter(([kind, number]) => number > 0 && kind !== "session");
  document.getElementById("foot").append(
    el("p", null, `Made ${clock(now)} from ${data.store} by foldlog ${data.foldlog}. Times are UTC; + is since ${clock(0)}.`),
    el("p", null, `Texts have at most ${count(data.text_chars)} characters here.`,
      left.length > 0 && ` Not in this file one by one: ${left.map(([kind, number]) => plural(number, kind)).join(", ")}.`,
      " Everything whole: ", el("code", null, `foldlog export ${quoted(data.store)} FOLDER ${quoted(sessions[0].id)}`)));
};

document.getElementById("brand-of").textContent = shown(`${data.store}`);
document.getElementById("skip").addEventListener("click", () => document.getElementById("main").focus());
startTheme();
buildTree(document.getElementById("side"));
buildFoot();
startSearch();
addEventListener("hashchange", () => route());
// A print has the transcript unfolded; the page afterwards is as it was.
let unfolded = [];
addEventListener("beforeprint", () => {
  current.transcript?.showAll?.();
  unfolded = [...document.querySelectorAll("#transcript details:not([open])")];
  for (const one of unfolded) {
    one.open = true;
    one.dispatchEvent(new Event("toggle")); // at once: what fills itself when it is unfolded
  }
});
addEventListener("afterprint", () => unfolded.forEach((one) => (one.open = false)));
route();
document.documentElement.dataset.ready = "yes";
