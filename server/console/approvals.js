// Calls that wait for a person: what exactly would run, why it is asked, and two buttons.

import { el, pill, plain, plainText } from "./dom.js";
import * as server from "./server.js";
import { clock, count, duration, moment } from "./words.js";

const KEPT = 10;
const list = document.getElementById("approval-list");
const badge = document.getElementById("waiting-badge");
const said = document.getElementById("said");
let waiting = 0;

/**
 * Shows what waits. Oldest first, and what is decided stays where it is until it is dismissed: nothing may move under
 * the pointer of somebody who is about to click.
 */
export function show(entries) {
  const shown = new Map([...list.children].map((card) => [card.dataset.key, card]));
  const fresh = entries.filter((entry) => !shown.has(entry.id));
  for (const entry of fresh.toReversed()) list.append(card(entry));
  const pending = new Set(entries.map((entry) => entry.id));
  for (const [id, each] of shown) {
    if (!pending.has(id) && !each.settled && !each.busy) settledElsewhere(each);
  }
  const settled = [...list.children].filter((each) => each.settled);
  for (const old of settled.slice(0, Math.max(0, settled.length - KEPT))) old.remove();
  waiting = entries.length;
  badge.hidden = waiting === 0;
  badge.textContent = waiting;
  document.title = waiting ? `(${waiting}) Interlock console` : "Interlock console";
  document.getElementById("no-approvals").hidden = list.children.length > 0;
  if (fresh.length) say(`${count(fresh.length, "call waits", "calls wait")} for a decision: ${fresh.map((e) => plainText(e.tool)).join(", ")}.`);
  tick();
}

export function clear() {
  list.replaceChildren();
  show([]);
}

/** Brings the countdowns up to date. */
export function tick() {
  for (const each of list.querySelectorAll("[data-expires]")) {
    const left = Number(each.dataset.expires) - server.now();
    each.textContent = left > 0 ? `expires in ${duration(Math.ceil(left))}` : "expired";
    each.classList.toggle("soon", left < 60);
  }
}

function say(words) {
  said.textContent = words;
}

function card(entry) {
  const title = `approval-${entry.id}`;
  const made = el(
    "li",
    { class: "card approval", "data-key": entry.id, "aria-labelledby": title },
    el(
      "div",
      { class: "head" },
      el("h3", { id: title }, plain(entry.tool)),
      entry.expires === null
        ? el("span", { class: "aside-note" }, "no expiry")
        : el("span", { class: "aside-note lapse", "data-expires": entry.expires, title: `until ${clock(new Date(entry.expires * 1000))}` }),
    ),
    el(
      "p",
      { class: "facts" },
      el("strong", {}, plain(entry.caller)), entry.yours ? " (you) asked in " : " asked in ",
      el("strong", {}, plain(entry.graph)), " at ", moment(entry.created), " · ",
      el("code", {}, entry.id),
    ),
    entry.reason === null ? null : el("p", { class: "reason" }, plain(sentence(entry.reason))),
    values(entry),
    el("details", { "data-part": "why" }, el("summary", {}, "Why it is asked"), el("p", { class: "rule" }, plain(entry.why), ".")),
  );
  made.entry = entry;
  made.append(entry.decidable ? decision(made, entry) : el("p", { class: "hint" }, "Only the role ", plain(entry.approver), " may decide this. Go on in the chat once it is decided."));
  return made;
}

/** Arguments, each in full: text as text, everything else as JSON. */
function values(entry) {
  if (!entry.values.length) return el("p", { class: "hint" }, "Without arguments.");
  return el(
    "div",
    { class: "values" },
    el(
      "dl",
      {},
      entry.values.map(([name, text]) => [el("dt", {}, plain(name)), el("dd", {}, block(`argument ${plainText(name)}`, text))]),
    ),
    el("details", { "data-part": "json" }, el("summary", {}, "Exactly, as JSON"), block("arguments as JSON", entry.json)),
  );
}

function block(name, text) {
  return el("pre", { tabindex: "0", role: "group", "aria-label": name }, plain(text));
}

function decision(made, entry) {
  const note = el("input", { id: `note-${entry.id}`, type: "text", maxlength: "2000", autocomplete: "off" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const buttons = ["reject", "approve"].map((word) =>
    el(
      "button",
      { type: "button", class: word, "aria-describedby": `approval-${entry.id}`, click: () => decide(word) },
      word === "approve" ? "Approve" : "Reject",
    ),
  );
  async function decide(word) {
    made.busy = true;
    error.hidden = true;
    for (const each of buttons) each.disabled = true;
    try {
      settle(made, await server.post(`../v1/approvals/${encodeURIComponent(entry.id)}`, { decision: word, note: note.value }), true);
    } catch (problem) {
      if (problem instanceof server.Refused && [404, 409, 410].includes(problem.status)) {
        await settledElsewhere(made, problem.message);
      } else {
        error.textContent = problem instanceof server.Refused ? plainText(sentence(problem.message)) : "Interlock does not answer. Nothing was decided, as far as can be told; try again.";
        error.hidden = false;
        for (const each of buttons) each.disabled = false;
        buttons.find((each) => each.classList.contains(word)).focus(); // it lost the focus when it was disabled
      }
    } finally {
      made.busy = false;
    }
  }
  return el(
    "div",
    { class: "decision" },
    el("label", { for: note.id }, "Note ", el("span", { class: "hint" }, "(whoever asked reads it when you reject, and so does the model)")),
    el("div", { class: "answer" }, note, buttons),
    error,
  );
}

async function settledElsewhere(made, problem = null) {
  made.settled = true;
  try {
    settle(made, { ...made.entry, ...(await server.get(`../v1/approvals/${encodeURIComponent(made.entry.id)}`)) }, false, problem);
  } catch {
    settle(made, { ...made.entry, status: "gone" }, false, problem);
  }
}

const OUTCOMES = {
  approved: ["approved", "good"],
  rejected: ["rejected", "bad"],
  expired: ["expired", "warn"],
  superseded: ["superseded", "dull"],
};
const NEXT = {
  approved: "The chat goes on at once where its answer is still open, otherwise with its next message.",
  rejected: "It does not run. The chat goes on at once where its answer is still open, otherwise with its next message.",
  expired: "Nobody decided in time, so it does not run. Ask again in the chat.",
  superseded: "The chat went on with another message, so it does not run.",
};

function settle(made, entry, here, problem = null) {
  made.settled = true;
  const [word, tone] = OUTCOMES[entry.status] ?? ["not waiting any more", "dull"];
  const by = here ? " by you" : entry.decided_by ? ` by ${plainText(entry.decided_by)}` : "";
  const words = `${plainText(entry.tool)}: ${word}${by}.`;
  // A button that was clicked lost the focus when it was disabled.
  const hadFocus = here || made.contains(document.activeElement);
  const dismiss = el("button", { type: "button", class: "quiet", click: () => {
    made.remove();
    document.getElementById("no-approvals").hidden = list.children.length > 0;
  } }, "Dismiss");
  made.querySelector("[data-expires]")?.removeAttribute("data-expires");
  made.querySelector(".aside-note").replaceChildren(pill(`${word}${by}`, tone));
  made.classList.add("settled");
  const last = el("div", { class: "outcome" }, el("p", {}, problem ? [plain(sentence(problem)), " "] : "", entry.note ? ["“", plain(entry.note), "” "] : "", NEXT[entry.status] ?? ""), dismiss);
  made.querySelector(".decision, :scope > .hint")?.remove();
  made.append(last);
  if (hadFocus) dismiss.focus({ preventScroll: true });
  say(words);
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
