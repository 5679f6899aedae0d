// Numbers for people: units always said, unknown never 0.

const UNKNOWN = "unknown";
const whole = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

// Integers that JavaScript would round come as text.
const count = (number) => (typeof number === "string" ? whole.format(BigInt(number)) : whole.format(number));
const plural = (number, noun) => `${count(number)} ${noun}${Number(number) === 1 ? "" : "s"}`;
const brief = (number) => (Math.abs(number) >= 1e15 ? number.toExponential(1).replace(".0", "").replace("+", "") : Math.abs(number) < 1 && number !== 0 ? String(Number(number.toPrecision(2))) : short.format(number));

const usd = (number) => {
  const value = Number(number);
  if (value === 0) return "$0";
  const digits = Math.abs(value) >= 100 ? 2 : Math.min(12, 3 - Math.floor(Math.log10(Math.abs(value))));
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.max(2, digits) })}`;
};

const duration = (ms) => {
  if (ms === null) return UNKNOWN;
  if (ms < 999.5) return `${ms < 10 ? Number(ms.toPrecision(2)) : Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
  // Rounded first, then taken apart: there is no "1 min 60 s".
  const [seconds, minutes, hours] = [1e3, 6e4, 36e5].map((unit) => Math.round(ms / unit));
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
};

const lengthOf = (row) => {
  if (row.start === null) return null;
  if (row.end !== null) return Math.max(0, row.end - row.start);
  return isRunning(row.status) ? Math.max(0, now - row.start) : null;
};

const timeOf = (row) => (lengthOf(row) === null ? "time unknown" : duration(lengthOf(row)));

const clock = (ms, chars = 19) =>
  ms === null ? UNKNOWN : `${new Date(ms + data.time_zero).toISOString().replace("T", " ").slice(0, chars)} UTC`;

const since = (ms) => (ms === null ? "" : `${ms < 0 ? "−" : "+"}${duration(Math.abs(ms))}`);

// A sum is [what is known or null, calls whose number is unknown], over so many calls.
const sumText = ([known], format = count) => (known === null ? UNKNOWN : format(known));
const sumNote = ([known, unknown], calls) => {
  if (calls === 0) return "no model calls";
  return known !== null && unknown > 0
    ? `known for ${count(calls - unknown)} of ${plural(calls, "model call")}`
    : `for ${allOf(calls)}`;
};

const allOf = (calls) => (calls === 1 ? "the only model call" : `all ${count(calls)} model calls`);

// Round numbers for an axis from 0 to at least `most`.
const ticksTo = (most, wanted) => {
  if (!(most > 0)) return [0, 1];
  const rough = most / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let at = 0; at < most + step * 0.999; at += step) found.push(at);
  return found;
};

const TIME_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5,
  36e5, 72e5, 216e5, 432e5, 864e5];
const timeTicks = (length, wanted) => {
  const step = TIME_STEPS.find((one) => length / one <= wanted) ?? Math.ceil(length / wanted / 864e5) * 864e5;
  const found = [];
  for (let at = 0; at <= length; at += step) found.push(at);
  return found;
};
// A time on an axis, as finely as its steps are.
const tickTime = (ms, step) => {
  if (ms === 0) return "0";
  if (ms >= 6e4 && step % 6e4) return new Date(ms).toISOString().slice(ms < 36e5 ? 14 : 11, step < 1000 ? 23 : 19);
  if (ms >= 1000 && step < 1000) return `${Number((ms / 1000).toFixed(3))} s`;
  return duration(ms).replace(/\.0+ /, " ").replace(/(\.\d)0 /, "$1 ").replace(" 0 s", "").replace(" 0 min", "");
};
