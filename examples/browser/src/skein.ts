/** A small client of Skein's HTTP API for browsers: queries, events and live queries, all as Arrow or typed JSON. */

import { RecordBatch, RecordBatchReader, Table, tableFromIPC } from "apache-arrow";

/** What the server says when it refuses: RFC 9457 problem details. */
export interface Problem {
  code: string;
  detail: string;
  status: number;
}

export class SkeinError extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.detail}`);
  }
}

/** A CloudEvent of the durable log. `id` grows; follow again after the last one that was seen. */
export interface SkeinEvent {
  id: string;
  type: string;
  subject?: string;
  time: string;
  data: Record<string, unknown>;
}

/** One result of a live query: all rows, or those that came on top. */
export interface LiveResult {
  number: number;
  mode: "refresh" | "append";
  datasets: Record<string, number>;
  rows: Table;
}

type LiveMessage =
  | { type: "subscribed"; id: string; channel: number }
  | { type: "result"; id: string; channel: number; number: number; mode: "refresh" | "append"; datasets: Record<string, number> }
  | { type: "end"; id: string; number: number; batches: number; rows: number }
  | { type: "error"; id?: string; code: string; detail: string };

const ARROW_STREAM = "application/vnd.apache.arrow.stream";
const FRAME_HEADER_BYTES = 8;
const RECONNECT_MS = 500;
const ABOUT_THE_STREAM = new Set(["skein.hello", "skein.heartbeat", "skein.reset"]);

export class Skein {
  constructor(
    private readonly url: string,
    private readonly token?: string,
  ) {}

  /** Record batches as they arrive. Stop iterating, or abort `signal`, and the server stops the query. */
  async *query(sql: string, params: unknown[] = [], signal?: AbortSignal): AsyncGenerator<RecordBatch> {
    const headers: Record<string, string> = { "Content-Type": "application/json", Accept: ARROW_STREAM };
    if (this.token) headers["Authorization"] = `Bearer ${this.token}`;
    const aborter = new AbortController();
    signal?.addEventListener("abort", () => aborter.abort());
    const body = JSON.stringify({ sql, params });
    const reply = await fetch(`${this.url}/api/v1/queries`, { method: "POST", headers, body, signal: aborter.signal });
    if (!reply.ok) throw new SkeinError((await reply.json()) as Problem);
    try {
      for await (const batch of await RecordBatchReader.from(reply)) yield batch;
    } finally {
      aborter.abort();
    }
  }

  /** Events after `after`, or from now on. Connects again after the last one when the connection ends. */
  async *events(after?: string, signal?: AbortSignal): AsyncGenerator<SkeinEvent> {
    let last = after;
    while (!signal?.aborted) {
      const query = last === undefined ? "" : `?after=${encodeURIComponent(last)}`;
      for await (const text of this.messages(`/api/v1/events${query}`, signal)) {
        const event = JSON.parse(text as string) as SkeinEvent;
        if (event.type === "skein.error") throw new SkeinError(event.data as unknown as Problem);
        if (ABOUT_THE_STREAM.has(event.type)) continue;
        last = event.id;
        yield event;
      }
      if (!signal?.aborted) await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  /** The result of `sql`, and again whenever a dataset it reads gets a new version. */
  async *live(sql: string, params: unknown[] = [], signal?: AbortSignal): AsyncGenerator<LiveResult> {
    const subscribe = JSON.stringify({ subscribe: { sql, params } });
    let batches: RecordBatch[] = [];
    let current: { number: number; mode: "refresh" | "append"; datasets: Record<string, number> } | undefined;
    for await (const message of this.messages("/api/v1/live", signal, subscribe)) {
      if (message instanceof ArrayBuffer) {
        batches.push(...tableFromIPC(new Uint8Array(message, FRAME_HEADER_BYTES)).batches);
        continue;
      }
      const said = JSON.parse(message) as LiveMessage;
      if (said.type === "error") throw new SkeinError({ ...said, status: 0 });
      if (said.type === "result") [current, batches] = [said, []];
      if (said.type === "end" && current) {
        const { number, mode, datasets } = current;
        yield { number, mode, datasets, rows: new Table(batches) };
      }
    }
  }

  /** What a WebSocket says, until it is closed. Browsers cannot set headers there: a token goes as subprotocol. */
  private async *messages(path: string, signal?: AbortSignal, hello?: string): AsyncGenerator<string | ArrayBuffer> {
    const protocols = this.token ? ["skein", `skein.token.${base64url(this.token)}`] : [];
    const socket = new WebSocket(this.url.replace(/^http/, "ws") + path, protocols);
    socket.binaryType = "arraybuffer";
    const arrived: (string | ArrayBuffer)[] = [];
    let wake = () => {};
    let open = true;
    socket.onopen = () => hello && socket.send(hello);
    socket.onmessage = ({ data }) => (arrived.push(data as string | ArrayBuffer), wake());
    socket.onclose = () => ((open = false), wake());
    signal?.addEventListener("abort", () => socket.close());
    try {
      while (open || arrived.length) {
        if (arrived.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        else yield arrived.shift()!;
      }
    } finally {
      socket.close();
    }
  }
}

function base64url(text: string): string {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
