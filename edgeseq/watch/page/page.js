"use strict";
// Shows snapshots. Names come from files that somebody else wrote: everything is set as text, never as HTML.
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
let now = JSON.parse(at("first").textContent);
let chosen = "", asReads = false, heard = Date.now() - 1000 * now.age, connected = true;

function make(tag, attributes, ...children) {
  const shape = ["svg", "rect", "path", "line", "text", "title"].includes(tag);
  const node = shape ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (name === "fill") node.style.fill = value;
    else if (name === "dot") node.style.setProperty("--dot", value);
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}
const show = (id, ...children) => at(id).replaceChildren(...children.filter((child) => child != null));
const whole = (value) => Math.round(value).toLocaleString("en");
const short = (value) => (value >= 1e9 ? (value / 1e9).toFixed(2) + " G" : value >= 1e6 ? (value / 1e6).toFixed(2) + " M" : value >= 1e4 ? (value / 1e3).toFixed(1) + " k" : whole(value));
const rate = (value) => (value >= 100 ? short(value) : value.toFixed(1));
const bytes = (value) => (value == null ? "unknown" : value >= 1e9 ? (value / 1e9).toFixed(1) + " GB" : value >= 1e6 ? (value / 1e6).toFixed(1) + " MB" : (value / 1e3).toFixed(value ? 1 : 0) + " kB");
const share = (value) => (value === 0 ? "0 %" : value >= 0.1 ? (100 * value).toFixed(0) + " %" : value >= 0.001 ? (100 * value).toFixed(value >= 0.01 ? 1 : 2) + " %" : "<0.1 %");
const lasting = (seconds) => (seconds < 90 ? Math.round(seconds) + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min" : seconds < 172800 ? (seconds / 3600).toFixed(1) + " h" : (seconds / 86400).toFixed(1) + " days");
const pause = (seconds) => (seconds == null ? "no data yet" : seconds < 1 ? Math.round(1000 * seconds) + " ms" : seconds.toFixed(1) + " s");
const reads = (count) => `${whole(count)} ${count === 1 ? "read" : "reads"}`;
const clock = (seconds, withDay) => new Date(1000 * seconds).toLocaleString([], withDay ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" });
const stamp = (seconds) => make("time", { datetime: new Date(1000 * seconds).toISOString() }, clock(seconds, Date.now() / 1000 - seconds > 43200));

const colours = new Map();
function colour(label) {
  if (label === "…") return "var(--rest)";
  if (label === "unclassified") return "var(--none)";
  if (label === now.bundle.background) return "var(--other)";
  if (!colours.has(label)) colours.set(label, `var(--c${colours.size % 8})`);
  return colours.get(label);
}
const last = (label) => (label === now.bundle.background ? 1 : label === "unclassified" ? 2 : label === "…" ? 0.5 : 0);
const inOrder = (labels) => labels.sort((a, b) => last(a) - last(b));

function state() {
  const age = (Date.now() - heard) / 1000;
  const lost = !connected && now.state !== "ended";
  const word = lost ? "connection lost" : now.state;
  const when = age < 3 && !lost ? "live" : `as of ${lasting(age)} ago`;
  show("state", make("span", { class: `pill ${lost ? "lost" : now.state}` }, word), ` ${when} · running for ${lasting(now.uptime)}`);
  document.title = `${found().length ? "● " : ""}${short(now.totals.reads)} reads · edgeseq`;
  show("run", now.roots.map((root) => root.split("/").filter(Boolean).pop() || root).join(", "));
  at("why").hidden = !now.why || lost;
  show("why", now.why);
}
const found = () => now.run.answers.filter((one) => one.answer === "detected");

function answer() {
  const hits = found(), box = at("answer"), tested = now.run.tested;
  box.className = hits.length ? "found" : tested ? "clear" : "";
  if (!now.run.answers.length) return show("answer", make("strong", {}, "This bundle names no classes to look for"));
  if (hits.length) {
    const rows = hits.map((one) => {
      const first = now.detections.filter((other) => other.label === one.label).pop();
      return make("li", {}, make("b", {}, one.label), ` in ${one.barcodes.join(", ")} · ${reads(one.hits)} of ${whole(tested)} in the run`, first ? make("span", { class: "soft" }, " · first at ", clock(first.time, true)) : null);
    });
    const rest = now.run.answers.length - hits.length;
    return show("answer", make("strong", {}, `Detected: ${hits.map((one) => one.label).join(", ")}`), make("ul", {}, ...rows), rest ? make("p", { class: "note" }, `${rest} other ${rest === 1 ? "class" : "classes"}: not detected at ${reads(tested)}`) : null);
  }
  const classes = `${now.run.answers.length} ${now.run.answers.length === 1 ? "class is" : "classes are"} looked for`;
  if (!tested) return show("answer", make("strong", {}, "No data yet"), make("span", { class: "soft" }, `${classes}. ${now.run.reads ? `${reads(now.run.reads)} came that cannot be called.` : "Nothing can be said before the first read."}`));
  show("answer", make("strong", {}, `Nothing detected at ${reads(tested)}`), make("span", { class: "soft" }, `${classes} in ${Object.keys(now.samples).length} barcodes.`));
}

function tiles() {
  const health = now.health;
  const all = [
    ["reads", short(now.totals.reads)], ["reads/s, last minute", rate(now.rates.reads)],
    ["bases", short(now.totals.bases)], ["bases/s, last minute", rate(now.rates.bases)],
    ["backlog", bytes(health.backlog_bytes)], ["oldest waits for", lasting(health.backlog_seconds), health.backlog_seconds > 60],
    ["from flush to row, p99", pause(health.latency_p99)], ["skipped reads", whole(health.skipped), health.skipped > 0],
  ];
  show("tiles", ...all.map(([name, value, bad]) => make("div", { class: bad ? "tile bad" : "tile" }, make("b", {}, value), make("span", {}, name))));
}

function strip(counts, total, height = 10) {
  const svg = make("svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "composition" });
  let x = 0;
  for (const label of inOrder(Object.keys(counts))) {
    const width = total ? (100 * counts[label]) / total : 0;
    svg.append(make("rect", { x, y: 0, width, height, fill: colour(label) }, make("title", {}, `${label}: ${whole(counts[label])}`)));
    x += width;
  }
  return svg;
}

function barcodes() {
  const head = make("tr", {}, make("th", {}, "Barcode"), make("th", { class: "number" }, "Reads"), make("th", { class: "number wide" }, "Bases"), make("th", {}, "Answer"), make("th", { class: "wide" }, "Calls"));
  const rows = Object.entries(now.samples).map(([name, one]) => {
    const hit = one.answers.some((other) => other.answer === "detected");
    const words = one.control ? `control: ${one.words}` : one.words;
    return make("tr", { class: name === chosen ? "chosen" : false },
      make("td", {}, make("button", { type: "button", onclick: () => { choose(name); at("sample").scrollIntoView({ behavior: "smooth" }); } }, titled(name))),
      make("td", { class: "number" }, whole(one.reads)), make("td", { class: "number wide" }, short(one.bases)),
      make("td", { class: hit ? "found-word" : "" }, words), make("td", { class: "wide" }, strip(one.labels, one.reads)));
  });
  const empty = make("tr", {}, make("td", { colspan: 5, class: "soft" }, "No data yet"));
  show("barcodes", make("thead", {}, head), make("tbody", {}, ...(rows.length ? rows : [empty])));
}

const titled = (name) => (now.samples[name].name ? `${name} · ${now.samples[name].name}` : name);
function choose(name) { chosen = name; render(); }
function choices() {
  const names = ["", ...Object.keys(now.samples)], select = at("chosen");
  if ([...select.options].map((one) => one.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name ? titled(name) : "all barcodes")));
  }
  select.value = chosen;
}

function chart() {
  const past = now.history, table = (chosen ? past.barcodes[chosen] : past.run) || {}, labels = inOrder(Object.keys(table));
  if (!labels.length) { show("chart", make("p", { class: "soft" }, "No data yet")); return show("legend"); }
  const width = Math.max(280, at("chart").clientWidth), height = 190, left = 44, bottom = 20, top = 8, count = Math.max(past.length, 12);
  const sums = Array.from({ length: past.length }, (_, i) => labels.reduce((sum, label) => sum + (table[label][i] || 0), 0));
  const most = Math.max(1, ...sums), step = (width - left) / count, full = height - bottom - top;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "composition over time" });
  const base = new Array(past.length).fill(0);
  for (const label of labels) {
    let path = "";
    table[label].forEach((value, i) => {
      if (!value) return;
      const unit = full / (asReads ? most : sums[i]), y = height - bottom - unit * (base[i] + value);
      path += `M${(left + i * step).toFixed(1)} ${y.toFixed(1)}h${Math.max(0.8, step - 0.6).toFixed(1)}v${(unit * value).toFixed(2)}h-${Math.max(0.8, step - 0.6).toFixed(1)}z`;
      base[i] += value;
    });
    svg.append(make("path", { d: path, fill: colour(label) }, make("title", {}, label)));
  }
  const mark = (x, y, words, anchor) => svg.append(make("text", { x, y, "text-anchor": anchor }, words));
  mark(left - 6, top + 9, asReads ? short(most) : "100 %", "end");
  mark(left - 6, height - bottom, "0", "end");
  const end = past.start + count * past.seconds, days = end - past.start > 43200;
  mark(left, height - 4, clock(past.start, days), "start");
  mark((left + width) / 2, height - 4, clock((past.start + end) / 2, days), "middle");
  mark(width, height - 4, clock(end, days), "end");
  show("chart", svg, make("p", { class: "note" }, `Calls in stretches of ${lasting(past.seconds)}; a gap is a time without reads.`));
  show("legend", ...labels.map((label) => make("span", { dot: colour(label) }, label === "…" ? "others" : label)));
}

function shares() {
  const one = chosen ? now.samples[chosen] : now.run, made = one && one.composition;
  at("shares-title").textContent = "Composition" + (made ? `, at ${reads(made.reads)}` : "");
  if (!made) return show("shares", make("p", { class: "soft" }, "No data yet"));
  const scale = Math.max(...made.shares.map((part) => part.high));
  const row = (part) => {
    const svg = make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      make("rect", { x: 0, y: 1, width: (100 * part.share) / scale, height: 8, fill: colour(part.label) }),
      make("rect", { x: (100 * part.low) / scale, y: 4.2, width: Math.max(0.3, (100 * (part.high - part.low)) / scale), height: 1.6, fill: "var(--text)" }));
    return make("div", { class: "bar" }, make("span", { class: "dot", dot: colour(part.label) }, part.label), svg, make("span", {}, `${share(part.share)} (${share(part.low)} – ${share(part.high)}) · ${whole(part.called)} called`));
  };
  const seen = made.shares.filter((part, i) => i < 3 || part.share >= 0.001), few = made.shares.filter((part) => !seen.includes(part));
  const words = made.corrected ? "Shares corrected for what the model mixes up, with their 95 % intervals." : "Shares of the calls with their 95 % intervals; this bundle does not say what it mixes up, so nothing is corrected.";
  show("shares", make("p", { class: "note" }, words), ...seen.map(row), fold(shares, few, "below 0.1 %", row));
}

function evidence() {
  const asked = now.questions, limits = new Map(asked.classes.map((one) => [one.label, one]));
  const line = asked.classes.length ? asked.classes[0].threshold.toFixed(1) : "";
  at("evidence-note").textContent = `A class is detected where its bar has reached the line, at ${line} powers of ten against the background. With no class there, that happens in ${share(asked.alpha)} of runs at most, over all classes, all of ${asked.barcodes} barcodes and all time; a class that is ${share(asked.least)} of a barcode or more is ruled out at that share in ${share(asked.beta)} of cases at most.`;
  if (!chosen) {
    const rows = [...now.run.answers].sort((a, b) => (b.answer === "detected") - (a.answer === "detected") || b.hits - a.hits);
    return show("evidence", make("p", { class: "note" }, "The question is asked of each barcode: choose one to see its evidence."), ...rows.map((one) => make("div", { class: "bar" }, make("span", {}, one.label), make("span", { class: one.answer === "detected" ? "found-word" : "" }, one.words), make("span", { class: "soft" }, `${whole(one.hits)} called`))));
  }
  const one = now.samples[chosen];
  if (!one || !one.asked) return show("evidence", make("p", { class: "soft" }, `Not asked: more than ${asked.barcodes} barcodes were met.`));
  const row = (part) => {
    const limit = limits.get(part.label), width = Math.min(100, (50 * part.strength) / limit.threshold), hit = part.answer === "detected";
    const svg = make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": `evidence ${part.strength} of ${limit.threshold.toFixed(1)}` },
      make("rect", { x: 0, y: 0, width: 100, height: 10, fill: "var(--wait-back)" }),
      make("rect", { x: 0, y: 2, width, height: 6, fill: hit ? "var(--found)" : "var(--c1)" }),
      make("rect", { x: 49.8, y: 0, width: 0.5, height: 10, fill: "var(--text)" }));
    const strength = part.strength > 0 ? `, evidence ${part.strength > 100 ? "over 100" : part.strength.toFixed(1)}` : "";
    return make("div", { class: "bar" }, make("span", { class: hit ? "found-word" : "" }, part.label), svg, make("span", {}, `${whole(part.hits)} called, background ${Number((100 * part.background).toPrecision(2))} %${strength}`));
  };
  const rows = [...one.answers].sort((a, b) => b.strength - a.strength || b.hits - a.hits);
  const groups = new Map();
  for (const part of rows) groups.set(part.words, [...(groups.get(part.words) || []), part]);
  const parts = [...groups].sort((a, b) => (b[1][0].answer === "detected") - (a[1][0].answer === "detected")).flatMap(([words, members]) => {
    const hit = members.filter((part) => part.hits > 0), none = members.filter((part) => !part.hits);
    return [make("h4", { class: members[0].answer === "detected" ? "found-word" : "" }, words[0].toUpperCase() + words.slice(1)), ...hit.map(row), fold(words, none, "never called", row)];
  });
  show("evidence", one.control ? make("p", { class: "note" }, "This is the negative control: what is called here raises the background of the other barcodes.") : null, ...parts.filter(Boolean));
}

const unfolded = new Set();
function fold(key, members, words, row) {
  if (!members.length) return null;
  const folded = make("details", { open: unfolded.has(key) }, make("summary", {}, `${members.length} ${members.length === 1 ? "class" : "classes"} ${words}`), ...members.map(row));
  folded.addEventListener("toggle", () => (folded.open ? unfolded.add(key) : unfolded.delete(key)));
  return folded;
}

function health() {
  const one = now.health, low = one.disk_free != null && one.disk_free < 1e9;
  const policies = { all: "every read, whole", prefix: "every read, of long ones only the first bases", sample: "only some reads; the others have rows that say skipped" };
  const rows = [
    ["State", now.why ? `${now.state}: ${now.why}` : now.state, !["running", "waiting", "ended"].includes(now.state)],
    ["Scored now", policies[one.policy], one.policy !== "all"],
    ["Backlog", `${bytes(one.backlog_bytes)}, the oldest waits for ${lasting(one.backlog_seconds)}`, one.backlog_seconds > 60],
    ["From flush to row", one.latency_p50 == null ? "no data yet" : `${pause(one.latency_p50)} in the middle, ${pause(one.latency_p99)} at the 99th percentile`],
    ["Skipped, shortened", `${reads(one.skipped)}, ${reads(one.shortened)}`, one.skipped + one.shortened > 0],
    ["Duplicates", `${reads(one.duplicates)} seen again and not counted`],
    ["Files", `${whole(one.files)} followed, ${whole(one.damaged_files)} damaged`, one.damaged_files > 0],
    ...one.damaged.map((problem) => ["Damaged", problem, true]),
    ...Object.entries(one.unlisted).map(([folder, problem]) => ["Cannot be listed", `${folder}: ${problem}`, true]),
    ["Disk", `${bytes(one.disk_free)} free of ${bytes(one.disk_total)}`, low],
    ["Memory", bytes(one.memory)],
    one.temperature == null ? null : ["Temperature", `${one.temperature.toFixed(0)} °C`, one.temperature >= 80],
  ];
  show("health", ...rows.filter(Boolean).flatMap(([name, value, bad]) => [make("dt", {}, name), make("dd", { class: bad ? "bad" : "" }, value)]));
}

function alerts() {
  const rows = now.alerts.map((one) => make("tr", {}, make("td", {}, one.name), make("td", { class: "number" }, whole(one.delivered)), make("td", { class: "number" }, whole(one.waiting)), make("td", { class: "number" }, whole(one.failed)), make("td", { class: one.problem ? "found-word" : "soft" }, one.problem || "no problem")));
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "To"), make("th", { class: "number" }, "Sent"), make("th", { class: "number" }, "Waiting"), make("th", { class: "number" }, "Failed"), make("th", {}, "Last"))), make("tbody", {}, ...rows));
  const list = now.detections.map((one) => make("li", {}, stamp(one.time), one.text));
  show("alerts", rows.length ? make("div", { class: "scroll" }, table) : make("p", { class: "soft" }, "Nobody is told of detections."), make("h3", {}, `Detections: ${whole(now.detections_total)}`), list.length ? make("ul", { class: "plain" }, ...list) : make("p", { class: "soft" }, now.run.tested ? "None so far" : "No data yet"));
}

function about() {
  const one = now.bundle, on = now.device;
  const rows = [["Bundle", `${one.name} ${one.version}`], ["sha256", one.sha256], ["Classes", one.labels.join(", ") || one.task], ["Device", `${on.model}, ${on.cores} ${on.cores === 1 ? "core" : "cores"}, ${on.machine}`], ["Host", on.host], ["Engine", `${on.provider}, ${on.threads} ${on.threads === 1 ? "thread" : "threads"}`], ["Watched", now.roots.join(", ")], ["Results", now.out], ["edgeseq", now.version]];
  show("about", ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  show("events", ...(now.events.length ? now.events.map((event) => make("li", {}, stamp(event.time), make("b", {}, event.kind), ` ${event.subject} `, make("span", { class: "soft" }, event.text))) : [make("li", { class: "soft" }, "Nothing unusual has happened.")]));
}

function render() {
  if (chosen && !now.samples[chosen]) chosen = "";
  inOrder(Object.keys(now.run.labels)).forEach(colour);
  state(); answer(); tiles(); barcodes(); choices(); chart(); shares(); evidence(); health(); alerts(); about();
}
function renderSoon() {  // what matters is painted first
  inOrder(Object.keys(now.run.labels)).forEach(colour);
  state(); answer(); tiles();
  requestAnimationFrame(() => setTimeout(() => { render(); listen(); }));
}

at("chosen").addEventListener("change", (event) => choose(event.target.value));
at("scale").addEventListener("click", () => { asReads = !asReads; at("scale").setAttribute("aria-pressed", asReads); at("scale").textContent = asReads ? "as shares" : "as reads"; chart(); });
function listen() {
  const source = new EventSource("events");
  source.addEventListener("snapshot", (event) => { now = { history: now.history, ...JSON.parse(event.data) }; heard = Date.now(); connected = true; if (!document.hidden) render(); });
  source.addEventListener("history", (event) => { now = { ...now, history: JSON.parse(event.data) }; });
  source.addEventListener("open", () => { connected = true; });
  source.addEventListener("error", () => { connected = false; state(); });
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) render(); });
window.addEventListener("resize", chart);
setInterval(state, 1000);
renderSoon();
