// The data as objects: what the page reads, and nothing of how it looks.

const data = JSON.parse(document.getElementById("data").textContent);

const rowsOf = ({ columns, rows }) =>
  rows.map((cells) => Object.fromEntries(columns.map((name, at) => [name, cells[at]])));

const word = (at) => (at === null ? null : data.words[at]);

const withWords = (rows, ...names) => {
  for (const row of rows) for (const name of names) row[name] = word(row[name]);
  return rows;
};

const sessions = withWords(rowsOf(data.sessions), "status", "kind", "provider");
const tables = {
  turn: withWords(rowsOf(data.turns), "status"),
  message: withWords(rowsOf(data.messages), "role"),
  eval: withWords(rowsOf(data.evals), "status"),
  call: withWords(rowsOf(data.calls), "type", "status", "provider", "model", "batch"),
};
const errors = withWords(rowsOf(data.errors), "status");
const models = withWords(rowsOf(data.models), "provider", "model");
const now = data.made_at - data.time_zero;

sessions.forEach((session, place) => {
  session.place = place;
  session.children = [];
  session.rows = { turn: [], message: [], eval: [], call: [] };
  session.models = [];
  session.errors = [];
  if (session.parent !== null) sessions[session.parent].children.push(session);
});
for (const [kind, rows] of Object.entries(tables))
  for (const row of rows) {
    row.kind = kind;
    sessions[row.session].rows[kind].push(row);
  }
for (const row of models) sessions[row.session].models.push(row);
for (const row of errors) sessions[row.session].errors.push(row);

// Where a session is named by its id and stands more than once, the place that has its rows counts.
const placesById = new Map();
for (const session of sessions)
  if (session.present || !placesById.has(session.id)) placesById.set(session.id, session.place);

const withBelow = (session) => (session.all ??= [session, ...session.children.flatMap(withBelow)]);

const findRow = (session, kind, id) => session.rows[kind]?.find((row) => row.id === id);

// A text is a string, or `{cut, left}` where only its beginning is in this file.
const textOf = (text) => (text === null ? "" : typeof text === "string" ? text : text.cut);
const leftOf = (text) => (text === null || typeof text === "string" ? 0 : text.left);

const isRunning = (status) => status === "running";
const isWell = (status) => ["ok", "final", "stopped", null].includes(status);
const statusKind = (status) =>
  isRunning(status) ? "running" : isWell(status) ? "well" : status === "error" ? "error" : "interrupted";

// The same model has the same colour all over the page; the calls that are to no model have none.
const modelName = (row) => row.model ?? (row.provider ? `${row.provider} (no model)` : "no model named");
const seriesByModel = new Map();
for (const row of sessions[0]?.models ?? [])
  if (!seriesByModel.has(modelName(row))) seriesByModel.set(modelName(row), Math.min(seriesByModel.size, 6));
const OTHER_MODELS = "several or other models"; // a bundle may be of several
const seriesOf = (row) => (row.summed ? (seriesByModel.get(modelName(row)) ?? 6) : null);

const addressOf = (session, kind, id) => {
  const parts = new URLSearchParams({ s: session.id });
  if (kind) parts.set(kind, id);
  return `#${parts}`;
};
