// Asks this page's own server. The key goes into a header, never into an address.

// sessionStorage: a reload keeps the person signed in, closing the tab does not, no other tab or site can read it, and,
// unlike a cookie, the browser never sends it on its own, so that no other page can act in the person's name.
const PLACE = "interlock-key";
const PATIENCE = 10_000;

/** The server said no; `status` is HTTP's. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {}

export function key() {
  return sessionStorage.getItem(PLACE);
}

export function keepKey(value) {
  sessionStorage.setItem(PLACE, value);
}

export function forgetKey() {
  sessionStorage.removeItem(PLACE);
  known.clear();
}

const known = new Map();
let ahead = 0;

/** The server's time in seconds: this machine's clock may be another. */
export function now() {
  return Date.now() / 1000 + ahead;
}

/** What `GET path` answers; `undefined` where that is what it answered before. Raises Refused or Unreachable. */
export async function get(path) {
  const before = known.get(path);
  const answer = await send(path, { headers: before ? { "If-None-Match": before } : {} });
  if (answer.status === 304) return undefined;
  const content = await contentOf(answer);
  known.set(path, answer.headers.get("etag"));
  return content;
}

/** What `POST path` answers. Raises Refused or Unreachable. */
export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return contentOf(await send(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

/** A drawing as an SVG element of this page. XMLHttpRequest, because it reads XML without running any of it. */
export function drawing(path) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address(path));
    request.setRequestHeader("Authorization", `Bearer ${key()}`);
    request.responseType = "document";
    request.timeout = PATIENCE;
    request.onload = () => {
      const root = request.responseXML?.documentElement;
      if (request.status !== 200 || root?.localName !== "svg") reject(new Refused(request.status, "no drawing"));
      else resolve(document.importNode(root, true));
    };
    request.onerror = request.ontimeout = () => reject(new Unreachable());
    request.send();
  });
}

function address(path) {
  return new URL(path, import.meta.url);
}

async function send(path, options) {
  const headers = { ...options.headers, Authorization: `Bearer ${key()}` };
  try {
    const signal = options.signal ?? AbortSignal.timeout(PATIENCE);
    const answer = await fetch(address(path), { ...options, headers, signal, cache: "no-store", redirect: "error" });
    const date = Date.parse(answer.headers.get("date") ?? "");
    if (!Number.isNaN(date) && Math.abs(date - Date.now()) > 2000) ahead = (date - Date.now()) / 1000;
    return answer;
  } catch {
    throw new Unreachable();
  }
}

async function contentOf(answer) {
  let content = null;
  try {
    content = await answer.json();
  } catch {
    // A proxy's page, perhaps, or an answer that was cut off.
  }
  if (!answer.ok) throw new Refused(answer.status, content?.error?.message ?? `The server answered ${answer.status}.`);
  if (content === null) throw new Unreachable();
  return content;
}

/** The events of the stream that `POST path` answers with, as they come. Raises Refused or Unreachable. */
export async function* stream(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await send(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!answer.ok) await contentOf(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await next(reader);
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) if (event.startsWith("data: ")) yield JSON.parse(event.slice(6));
  }
}

async function next(reader) {
  try {
    return await reader.read();
  } catch {
    throw new Unreachable();
  }
}
