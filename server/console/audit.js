// Search of the audit: a form, and the records that fit, newest first, page by page.

import { el, pill, plain } from "./dom.js";
import { isDrawn, nodeAddress } from "./graphs.js";
import * as server from "./server.js";
import { count, lapse, moment } from "./words.js";

const KINDS = { decision: "decision", call: "call", approval: "approval", endpoint: "passed on", pruned: "records forgotten" };
const TONES = {
  allow: "good", ask: "warn", deny: "bad", approved: "good", rejected: "bad", expired: "warn", superseded: "dull",
  ok: "good", failed: "bad", stopped: "warn", unknown: "warn",
};
const $ = (id) => document.getElementById(id);
const form = $("audit-form");
const rows = $("audit-rows");
let asked = null; // what the shown page was found by
let next = null;
let session = 0; // counts up: the answer to an earlier question is not shown under this one

/** Forgets everything for the one who leaves. */
export function clear() {
  session++;
  form.reset();
  rows.replaceChildren();
  $("audit-found").hidden = true;
  for (const id of ["audit-said", "audit-error"]) $(id).textContent = "";
}

async function search(older) {
  const mine = ++session;
  if (!older) asked = criteria();
  const query = new URLSearchParams(older ? { ...asked, before: next } : asked);
  $("audit-error").textContent = "";
  try {
    const found = await server.get(`api/audit?${query}`);
    if (mine === session) show(found, older);
  } catch (problem) {
    if (!(problem instanceof server.Refused || problem instanceof server.Unreachable)) throw problem;
    if (mine !== session) return;
    $("audit-error").textContent = problem instanceof server.Refused ? problem.message : "Interlock does not answer.";
  }
}

/** What is in the form, without what is empty. */
function criteria() {
  const [kind, value] = form.elements.event.value.split("/");
  const said = {
    who: form.elements.who.value.trim(),
    tool: form.elements.tool.value.trim(),
    kind,
    [kind === "call" ? "outcome" : "verdict"]: value ?? "",
    since: seconds(form.elements.since.value),
    until: seconds(form.elements.until.value),
    text: form.elements.text.value.trim(),
  };
  return Object.fromEntries(Object.entries(said).filter(([, each]) => each !== "" && each !== null));
}

function seconds(local) {
  const time = new Date(local).getTime();
  return Number.isNaN(time) ? null : time / 1000;
}

function show(found, older) {
  next = found.next;
  const made = found.records.map(row);
  if (older) rows.append(...made);
  else rows.replaceChildren(...made);
  $("audit-found").hidden = rows.children.length === 0;
  $("audit-older").hidden = next === null;
  const whose = found.everybody ? "of everybody" : "of your own";
  const many = count(rows.children.length, "record");
  $("audit-said").replaceChildren(
    `${rows.children.length ? many : "No record"} ${whose}. `,
    next !== null && found.reached !== null ? el("span", {}, "Searched back to ", moment(found.reached), "; there are older ones.") : "There are no older ones.",
  );
  if (older) made[0]?.querySelector("summary").focus({ preventScroll: true });
}

function row(record) {
  const word = ["call", "endpoint"].includes(record.kind) ? record.outcome : record.verdict;
  return el(
    "tr",
    {},
    el("td", {}, moment(record.time)),
    el("td", {}, el("span", { class: "hint" }, KINDS[record.kind] ?? record.kind), " ", word ? pill(word, TONES[word] ?? "dull") : null),
    el("td", {}, plain(record.user || "–"), record.role ? el("p", { class: "hint" }, "role ", plain(record.role)) : null),
    el("td", {}, record.tool ? el("code", {}, plain(record.tool)) : "–"),
    el("td", {}, plain(record.rule), record.note ? [" “", plain(record.note), "”"] : null, details(record)),
  );
}

function details(record) {
  const node = plain(`${record.graph}/${record.node}`);
  const facts = [
    ["Key", record.key && plain(record.key)],
    ["Node", record.node && (isDrawn(record.graph) ? el("a", { href: nodeAddress(record.graph, record.node) }, node) : node)],
    ["Took", record.seconds === null ? null : lapse(record.seconds)],
    ["Turn", record.turn && el("code", {}, plain(record.turn))],
    ["Call", record.call && el("code", {}, plain(record.call))],
    ["Approval", record.approval && el("code", {}, plain(record.approval))],
    ["Record", el("code", {}, String(record.seq))],
  ].filter(([, value]) => value);
  return el(
    "details",
    {},
    el("summary", {}, "More"),
    el("dl", { class: "facts-of" }, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    record.arguments === null ? null : el("pre", { tabindex: "0", role: "group", "aria-label": "Arguments" }, plain(record.arguments)),
  );
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  search(false);
});
$("audit-older").addEventListener("click", () => search(true));
