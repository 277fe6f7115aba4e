/** The page: one query as a stream, one live query as bars, and the events of the server. */

import { DataType, RecordBatch, Table } from "apache-arrow";

import { Skein } from "./skein";

const SHOWN_ROWS = 100;
const SHOWN_EVENTS = 20;

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const value = (id: string) => element<HTMLInputElement>(id).value.trim();
const skein = () => new Skein(value("server"), value("token") || undefined);

async function run(signal: AbortSignal): Promise<void> {
  const [progress, busy, started] = [element("progress"), element<HTMLProgressElement>("busy"), performance.now()];
  let rows = 0;
  busy.removeAttribute("value");
  for await (const batch of skein().query(value("sql"), [], signal)) {
    if (rows === 0) showRows(batch);
    rows += batch.numRows;
    const seconds = (performance.now() - started) / 1000;
    progress.textContent = `${rows.toLocaleString("en")} rows, ${Math.round(rows / seconds).toLocaleString("en")} a second`;
    await new Promise(requestAnimationFrame); // paint; the server waits meanwhile
  }
  progress.textContent += signal.aborted ? ", stopped" : ", done";
  busy.value = 1;
}

function showRows(batch: RecordBatch): void {
  const table = element<HTMLTableElement>("rows");
  table.replaceChildren();
  const head = table.createTHead().insertRow();
  for (const { name } of batch.schema.fields) {
    head.append(Object.assign(document.createElement("th"), { textContent: name }));
  }
  const body = table.createTBody();
  for (let row = 0; row < Math.min(SHOWN_ROWS, batch.numRows); row++) {
    const line = body.insertRow();
    for (const { name, type } of batch.schema.fields) {
      line.insertCell().textContent = text(batch.get(row)![name], type);
    }
  }
}

/** Times come as milliseconds since 1970. */
function text(cell: unknown, type: DataType): string {
  const isTime = DataType.isTimestamp(type) || DataType.isDate(type);
  return isTime && cell !== null ? new Date(Number(cell)).toISOString().replace("T", " ").slice(0, 19) : String(cell);
}

async function follow(signal: AbortSignal): Promise<void> {
  let all: Table | undefined;
  for await (const { number, mode, datasets, rows } of skein().live(value("live-sql"), [], signal)) {
    all = mode === "append" && all ? all.concat(rows) : rows;
    const versions = Object.entries(datasets).map(([name, version]) => `${name} v${version}`);
    element("live-state").textContent = `result ${number} (${mode}) of ${versions.join(", ")}`;
    showBars(all);
  }
}

/** The first column names the bars, the second one sizes them. */
function showBars(table: Table): void {
  const bars = [...table].slice(0, 20).map((row) => Object.values(row.toJSON()));
  const most = Math.max(1, ...bars.map(([, size]) => Number(size)));
  element("bars").replaceChildren(
    ...bars.map(([name, size]) => {
      const [bar, label, block] = [document.createElement("div"), document.createElement("span"), document.createElement("span")];
      bar.className = "bar";
      label.textContent = String(name);
      block.textContent = Number(size).toLocaleString("en");
      block.style.width = `${(100 * Number(size)) / most}%`;
      bar.append(label, block);
      return bar;
    }),
  );
}

async function watch(signal: AbortSignal): Promise<void> {
  const list = element<HTMLOListElement>("events");
  for await (const { id, type, subject, data } of skein().events(undefined, signal)) {
    const line = document.createElement("li");
    line.value = Number(id);
    line.textContent = `${type} ${subject ?? ""} ${JSON.stringify(data)}`;
    list.prepend(line);
    while (list.children.length > SHOWN_EVENTS) list.lastChild!.remove();
  }
}

/** Something that goes on until it ends, is stopped, or is started again. */
class Activity {
  private aborter = new AbortController();

  constructor(private readonly work: (signal: AbortSignal) => Promise<void>) {}

  async start(): Promise<void> {
    this.stop();
    const { signal } = (this.aborter = new AbortController());
    element("failure").textContent = "";
    try {
      await this.work(signal);
    } catch (error) {
      if (!signal.aborted) element("failure").textContent = String(error);
    }
  }

  stop(): void {
    this.aborter.abort();
  }
}

const [querying, following, watching] = [new Activity(run), new Activity(follow), new Activity(watch)];

function onSubmit(id: string, activity: Activity): void {
  element(id).addEventListener("submit", (event) => {
    event.preventDefault();
    activity.start();
  });
}

onSubmit("ask", querying);
onSubmit("follow", following);
element("stop").addEventListener("click", () => querying.stop());
element("connect").addEventListener("change", () => watching.start());
const server = new URLSearchParams(location.search).get("server");
if (server) element<HTMLInputElement>("server").value = server;
watching.start();
