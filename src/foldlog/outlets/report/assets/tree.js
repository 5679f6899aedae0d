// The sessions at the side: nested lists of links, each with its share of the tokens.

const OPEN_SESSIONS = 60; // a tree of more begins folded
const SIBLINGS = 60; // so many below one session are shown before a button

const tokensOf = (session) => {
  if (!session.usage) return null;
  const [, , input, output] = session.usage[0];
  return input[0] === null && output[0] === null ? null : Number(input[0] ?? 0) + Number(output[0] ?? 0);
};

const sessionLink = (session) => {
  const most = tokensOf(sessions[0]);
  const tokens = tokensOf(session);
  const share = most ? Math.round(((tokens ?? 0) / most) * 100) : 0;
  const facts = session.present
    ? `${plural(session.below[1], "call")}${tokens === null ? "" : ` · ${brief(tokens)}`}`
    : session.status === "referenced" ? "shown elsewhere" : "not in this store";
  const bar = el("span", { class: "share", title: "its share of the tokens", "aria-hidden": "true" }, el("span"));
  bar.firstChild.style.width = `${share}%`;
  return el("a", { href: addressOf(session), class: "session", "data-place": session.place },
    el("span", { class: `mark is-${statusKind(session.status)}`, title: session.status ?? "no status" },
      el("span", { "aria-hidden": "true" }, MARKS[statusKind(session.status)]),
      el("span", { class: "unseen" }, session.status ?? "no status")),
    el("span", { class: "session-name" }, session.parent === null ? session.id : session.name,
      session.edge === "attached" && [" ", el("span", { class: "tag" }, "attached")]),
    el("span", { class: "session-facts", title: tokens === null ? null : `${facts} input and output tokens, all below included` }, facts), bar);
};

const sessionItem = (session, depth) => {
  const item = el("li");
  if (!session.children.length) {
    item.append(el("div", { class: "node" }, el("span", { class: "no-fold" }), sessionLink(session)));
    return item;
  }
  const list = el("ul", { id: `below-${session.place}` });
  const fold = el("button", { type: "button", class: "fold", "aria-controls": list.id });
  const open = (isOpen) => {
    if (isOpen && !list.childElementCount) fillList(list, session.children, depth + 1);
    list.hidden = !isOpen;
    fold.setAttribute("aria-expanded", isOpen);
    fold.setAttribute("aria-label", `${isOpen ? "Fold" : "Unfold"} ${session.name}`);
  };
  fold.addEventListener("click", () => open(list.hidden));
  item.openTree = open;
  open(depth === 0 || sessions.length <= OPEN_SESSIONS);
  item.append(el("div", { class: "node" }, fold, sessionLink(session)), list);
  return item;
};

const fillList = (list, children, depth) => {
  list.append(...children.slice(0, SIBLINGS).map((child) => sessionItem(child, depth)));
  if (children.length <= SIBLINGS) return;
  const more = el("button", { type: "button", class: "more" }, `Show the other ${count(children.length - SIBLINGS)} sessions`);
  const item = el("li", null, more);
  item.showAll = () => item.replaceWith(...children.slice(SIBLINGS).map((child) => sessionItem(child, depth)));
  more.addEventListener("click", item.showAll);
  list.append(item);
};

const buildTree = (side) => {
  const list = el("ul", { class: "tree" }, sessionItem(sessions[0], 0));
  const fold = el("button", { type: "button", class: "side-fold", "aria-expanded": "false", "aria-controls": "tree" },
    `Sessions (${count(sessions.length)})`);
  fold.addEventListener("click", () => {
    const isOpen = side.classList.toggle("is-open");
    fold.setAttribute("aria-expanded", isOpen);
  });
  const body = el("div", { class: "side-body", id: "tree" }, el("h2", { class: "side-title" }, "Sessions", el("span", { class: "dim" }, "calls · tokens")), list);
  if (data.left_out.session > 0)
    body.append(el("p", { class: "left" }, `${count(data.left_out.session)} more sessions are not in this file; their numbers are in the sums.`));
  side.append(fold, body);
};

// Show where we are, and unfold the way there.
const markTree = (session) => {
  const side = document.getElementById("side");
  side.classList.remove("is-open");
  side.querySelector(".side-fold").setAttribute("aria-expanded", "false");
  const above = [];
  for (let at = session; at.parent !== null; at = sessions[at.parent]) above.unshift(sessions[at.parent]);
  const linkTo = (place) => side.querySelector(`a[data-place="${place}"]`);
  for (const one of [...above, session]) {
    if (!linkTo(one.place)) document.getElementById(`below-${one.parent}`)?.lastElementChild?.showAll?.();
    if (one !== session) linkTo(one.place)?.closest("li").openTree?.(true);
  }
  side.querySelector("[aria-current]")?.removeAttribute("aria-current");
  const current = linkTo(session.place);
  current?.setAttribute("aria-current", "page");
  const box = side.querySelector(".side-body");
  if (current && box.scrollHeight > box.clientHeight) current.scrollIntoView({ block: "nearest" });
};
