"use strict";

const MOST_ROWS = 1000; // that are shown

const element = (id) => document.getElementById(id);
let token = ""; // where one is needed
let running = null; // the AbortController of the query

async function load(path, options = {}) {
  const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
  const response = await fetch(path, { ...options, headers });
  const body = await response.json();
  if (response.ok) return body;
  if (response.status === 401) element("login").hidden = false;
  const needsToken = response.status === 401 && !token;
  throw new Error(needsToken ? "This server wants a token." : body.detail || response.statusText);
}

function made(tag, content, ...classes) {
  const it = document.createElement(tag);
  it.append(content);
  it.classList.add(...classes);
  return it;
}

function lineOf(cells) {
  const line = document.createElement("tr");
  line.append(...cells);
  return line;
}

// Datasets

function datasetRow(dataset) {
  const name = made("a", dataset.name);
  name.href = "#ask";
  name.addEventListener("click", () => askFor(dataset.name));
  const columns = made("a", dataset.columns.map((column) => column.name).join(", "));
  columns.href = dataset.href;
  const numbers = [dataset.version, dataset.rows, dataset.size_bytes].map((each) => each.toLocaleString());
  return lineOf([
    made("td", name),
    ...numbers.map((each) => made("td", each, "number")),
    made("td", columns, "names"),
  ]);
}

async function showDatasets() {
  const page = await load("/api/v1/datasets?limit=1000");
  element("datasets").replaceChildren(...page.items.map(datasetRow));
  const more = page.next ? `The first ${page.items.length.toLocaleString()} by name.` : "";
  element("note").textContent = page.items.length ? more : "None yet: skein ingest SOURCE --as NAME";
  if (!element("sql").value) write(page.items.length ? allOf(page.items[0].name) : "SELECT * FROM range(10)");
}

// Queries

const allOf = (name) => `SELECT * FROM "${name.replaceAll('"', '""')}" LIMIT 100`;

function write(sql) {
  element("sql").value = sql;
  showExample();
}

function showExample() {
  const body = JSON.stringify({ sql: element("sql").value }).replaceAll("'", "'\\''");
  element("example").textContent =
    `curl ${location.origin}/api/v1/queries -H 'Content-Type: application/json' \\\n  -d '${body}'`;
}

function askFor(name) {
  write(allOf(name));
  run();
}

async function run() {
  running?.abort();
  const mine = (running = new AbortController());
  element("stop").disabled = false;
  tell("running ...");
  const start = performance.now();
  try {
    const answer = await load("/api/v1/queries", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sql: element("sql").value, limit: MOST_ROWS + 1 }),
      signal: mine.signal,
    });
    showResult(answer, performance.now() - start);
  } catch (error) {
    if (running === mine) {
      element("result").replaceChildren();
      tell(mine.signal.aborted ? "stopped" : error.message, !mine.signal.aborted);
    }
  }
  if (running === mine) element("stop").disabled = true;
}

function tell(text, wrong = false) {
  element("outcome").textContent = text;
  element("outcome").classList.toggle("wrong", wrong);
}

function showResult({ columns, rows, affected_rows: affected }, milliseconds) {
  const shown = rows.slice(0, MOST_ROWS);
  const heads = columns.map(({ name, type }) => {
    const head = made("th", name, ...(isNumber(type) ? ["number"] : []));
    head.append(made("small", type));
    return head;
  });
  const largest = columns.map(({ name, type }) => isNumber(type) && largestOf(shown, name));
  const lines = shown.map((row) =>
    lineOf(columns.map(({ name, type }, place) => cell(row[name], type, largest[place]))),
  );
  element("result").replaceChildren(...(heads.length ? [lineOf(heads), ...lines] : []));
  const count = affected ?? shown.length;
  const what = `${count.toLocaleString()} row${count === 1 ? "" : "s"}${affected === null ? "" : " changed"}`;
  tell(`${rows.length > MOST_ROWS ? "the first " : ""}${what}, ${milliseconds.toFixed(0)} ms`);
}

const isNumber = (type) => /^(u?int|float|double|half|decimal)/.test(type);

const largestOf = (rows, name) => Math.max(0, ...rows.map((row) => Number(row[name]) || 0));

// Numbers have a bar behind them, as long as they are large.
function cell(value, type, largest) {
  if (value === null) return made("td", "null", "null");
  if (!isNumber(type)) {
    const text = made("td", textOf(value, type));
    text.title = text.textContent; // of which a narrow column shows the beginning
    return text;
  }
  const number = made("td", String(value), "number");
  const share = largest ? Math.max(0, (100 * Number(value)) / largest) : 0;
  if (share) number.style.background = `linear-gradient(to left, var(--bar) ${share}%, transparent ${share}%)`;
  return number;
}

function textOf(value, type) {
  if (typeof value === "object") return JSON.stringify(value);
  return type.startsWith("time") ? value.replace(/\.0+(?!\d)/, "") : String(value);
}

// The page

async function showServer() {
  const about = await load("/api/v1");
  element("version").textContent = about.version;
  if (about.flight_uri) {
    element("flight").hidden = false;
    element("flight").querySelector("code").textContent = about.flight_uri;
  }
}

const RECONNECT_MS = 5000;

function follow(upToDate) {
  const url = `${location.origin.replace(/^http/, "ws")}/api/v1/events?kind=dataset.*`;
  const events = new WebSocket(url, token ? ["skein", `skein.token.${base64url(token)}`] : []);
  const nothingNew = upToDate ? ["skein.hello", "skein.heartbeat"] : ["skein.heartbeat"];
  events.addEventListener("message", ({ data }) => {
    if (!nothingNew.includes(JSON.parse(data).type)) showDatasets();
  });
  events.addEventListener("close", () => setTimeout(follow, RECONNECT_MS, false));
}

const base64url = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

function show() {
  element("note").textContent = "";
  Promise.all([showServer(), showDatasets()])
    .then(() => follow(true))
    .catch((error) => { element("note").textContent = error.message; });
}

element("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value;
  element("login").hidden = true;
  show();
});
element("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
element("sql").addEventListener("input", showExample);
element("sql").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
element("stop").addEventListener("click", () => running?.abort());
show();
