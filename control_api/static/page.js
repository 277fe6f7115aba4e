"use strict";

const element = (id) => document.getElementById(id);

async function load(path) {
  const response = await fetch(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || response.statusText);
  return body;
}

function row(dataset) {
  const line = document.createElement("tr");
  const link = document.createElement("a");
  link.href = dataset.href;
  link.textContent = dataset.name;
  const numbers = [dataset.version, dataset.rows, dataset.size_bytes, dataset.columns.length];
  for (const content of [link, ...numbers.map((number) => number.toLocaleString())]) {
    line.insertCell().append(content);
  }
  return line;
}

async function showDatasets() {
  const page = await load("/api/v1/datasets?limit=1000");
  element("datasets").replaceChildren(...page.items.map(row));
  element("note").textContent = page.items.length ? "" : "None yet: skein ingest SOURCE --as NAME";
  const name = page.items.length ? `"${page.items[0].name}"` : "range(10)";
  element("example").textContent =
    `curl ${location.origin}/api/v1/query -H 'Content-Type: application/json' \\\n` +
    `  -d '${JSON.stringify({ sql: `SELECT * FROM ${name} LIMIT 3` })}'`;
}

async function showServer() {
  const about = await load("/api/v1");
  element("version").textContent = about.version;
  if (about.flight_uri) {
    element("flight").hidden = false;
    element("flight").querySelector("code").textContent = about.flight_uri;
  }
}

function follow() {
  const events = new EventSource("/api/v1/events/stream");
  for (const type of ["skein.dataset.committed", "skein.dataset.dropped", "skein.reset"]) {
    events.addEventListener(type, showDatasets);
  }
}

Promise.all([showServer(), showDatasets()])
  .then(follow)
  .catch((error) => { element("note").textContent = error.message; });
