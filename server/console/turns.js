// Turns as timelines: what was asked, each call with its verdict, who decided, what came of it.

import { carryOpen, el, keyed, pill, plain, plainText, svg } from "./dom.js";
import { markdown } from "./markdown.js";
import { path } from "./path.js";
import { refusal } from "./refusal.js";
import * as server from "./server.js";
import { count, duration, lapse, moment } from "./words.js";

const TONES = { finished: "good", running: "info", waiting: "warn", stopped: "dull", failed: "bad", interrupted: "bad" };
const VERDICTS = { allow: ["allowed", "good"], ask: ["asked", "warn"], deny: ["denied", "bad"] };
const OUTCOMES = {
  done: ["done", "good"],
  failed: ["failed", "bad"],
  refused: ["not run", "bad"],
  skipped: ["not run: the turn ended before it", "dull"],
  waiting: ["waits for a decision", "warn"],
  decided: ["decided: the chat has not gone on yet", "info"],
  unknown: ["cut off: outcome unknown", "warn"],
  running: ["running", "info"],
  next: ["comes next", "dull"],
  client: ["run by the client", "dull"],
  cached: ["from the cache", "good"],
  trial: ["not run: a trial", "dull"],
};
const ENDS = {
  running: "Still running",
  waiting: "Waits",
  interrupted: "Its process died. The chat’s next message goes on with what is known.",
};
const list = document.getElementById("turn-list");
const empty = document.getElementById("no-turns");
const answers = new Map(); // of turns that were opened: what each answered, as elements the server describes

export function show(turns, remembers) {
  empty.hidden = turns.length > 0;
  list.hidden = turns.length === 0;
  empty.textContent = remembers
    ? "No turns yet. Ask something with this key, and it shows here."
    : "Many people share this key and nobody vouches for who asks, so turns are not shown for it.";
  keyed(list, turns, (turn) => turn.id, row, carryOpen);
}

/** Forgets what was fetched for the one who leaves. */
export function clear() {
  list.replaceChildren();
  answers.clear();
}

function row(turn) {
  const end = answer(turn);
  const calls = turn.calls.length + turn.left_out;
  return el(
    "li",
    { class: "turn" },
    el(
      "details",
      { "data-part": "turn", toggle: (event) => event.target.open && end && write(end, turn) },
      el(
        "summary",
        {},
        el("span", { class: "when" }, moment(turn.began ?? turn.ended)),
        el("span", { class: "question" }, turn.trial ? [pill(`tried as ${plainText(turn.trial)}`, "info"), " "] : null, plain(turn.question || "(no words were kept)")),
        el(
          "span",
          { class: "facts" },
          el("span", {}, plain(turn.graph)),
          el("span", {}, count(calls, "call")),
          spent(turn) === null ? null : el("span", {}, duration(spent(turn))),
        ),
        pill(turn.status, TONES[turn.status] ?? "dull"),
      ),
      strip(turn),
      path(turn),
      el("ol", { class: "timeline" }, steps(turn, end)),
    ),
  );
}

function spent(turn) {
  return turn.began !== null && turn.ended !== null ? turn.ended - turn.began : null;
}

function steps(turn, answer) {
  const asked = el("li", { class: "step" }, said("Asked", turn.began), quote(turn.question));
  const later = turn.later.map((words) => el("li", { class: "step" }, said("Then said"), quote(words)));
  const end = el(
    "li",
    { class: "step" },
    said(ENDS[turn.status] ?? `Ended: ${turn.status}`, turn.ended),
    el("p", { class: "hint" }, `${count(turn.rounds, "model round")}.`),
    answer,
  );
  const left = turn.left_out ? [el("li", { class: "step" }, el("p", { class: "hint" }, `${count(turn.left_out, "earlier call")} left out.`))] : [];
  return [asked, ...left, ...turn.calls.map((call) => step(call, turn)), ...later, end];
}

/** The place of an answer: its text, until its Markdown is there. */
function answer(turn) {
  return turn.answer ? el("blockquote", { class: "answered" }, plain(turn.answer)) : null;
}

async function write(place, turn) {
  const version = `${turn.status} ${turn.answer}`;
  try {
    if (answers.get(turn.id)?.version !== version) {
      const { blocks } = await server.get(`api/turns/${encodeURIComponent(turn.id)}/answer`);
      answers.set(turn.id, { version, blocks });
    }
    place.replaceChildren(markdown(answers.get(turn.id).blocks));
  } catch (problem) {
    // The text stays, and the next refresh says what is wrong.
    if (!(problem instanceof server.Refused || problem instanceof server.Unreachable)) throw problem;
  }
}

function said(words, seconds = null) {
  return el("p", { class: "what" }, el("span", {}, words), seconds === null ? null : el("span", { class: "when" }, moment(seconds)));
}

function quote(words) {
  return words ? el("blockquote", {}, plain(words)) : null;
}

function step(call, turn) {
  const [verdict, verdictTone] = VERDICTS[call.verdict] ?? ["not judged", "dull"];
  const [outcome, tone] = OUTCOMES[call.outcome] ?? [call.outcome, "dull"];
  const offset = call.began !== null && turn.began !== null ? `+${duration(call.began - turn.began)}` : "";
  return el(
    "li",
    { class: `step call ${tone}` },
    el(
      "p",
      { class: "what" },
      el("code", { class: "tool" }, plain(call.tool)),
      call.verdict ? pill(verdict, verdictTone) : null,
      pill(outcome, tone),
      el("span", { class: "when" }, [offset, call.seconds === null ? "" : `took ${duration(call.seconds)}`].filter(Boolean).join(", ")),
    ),
    call.rule ? el("p", { class: "rule" }, plain(call.rule)) : null,
    call.approval ? approval(call.approval) : null,
    call.outcome === "refused" ? refusal(call) : null,
    el(
      "div",
      { class: "pair" },
      part("arguments", "Arguments", call.arguments, call.id),
      call.result ? part("result", "Result", call.result, call.id) : null,
    ),
  );
}

function approval(entry) {
  const who = entry.approver ? `the role ${entry.approver}` : "whoever asked";
  const words = entry.status === "pending"
    ? ["Asked at ", moment(entry.asked), `; ${who} may decide.`]
    : [
        `${entry.status.charAt(0).toUpperCase()}${entry.status.slice(1)}`,
        entry.by ? [" by ", plain(entry.by)] : "",
        entry.decided ? [" at ", moment(entry.decided), ", ", lapse(entry.decided - entry.asked), " after it was asked"] : "",
        ".",
        entry.note ? [" “", plain(entry.note), "”"] : "",
      ];
  return el("p", { class: "approved" }, words.flat());
}

function part(name, title, text, id) {
  return el(
    "details",
    { "data-part": `${name}-${id}` },
    el("summary", {}, title),
    el("pre", { tabindex: "0", role: "group", "aria-label": title }, plain(text)),
  );
}

/** Where the time went, drawn: the turn's length, waiting for people in it, and its calls. The list says the same. */
function strip(turn) {
  const whole = spent(turn);
  if (!whole || whole <= 0 || !turn.calls.length) return null;
  const bar = (from, to, tone, title) =>
    svg(
      "rect",
      {
        x: (Math.max(0, Math.min(0.995, (from - turn.began) / whole)) * 1000).toFixed(1),
        width: (Math.max(0.004, Math.min(1, (to - from) / whole)) * 1000).toFixed(1),
        y: 0,
        height: 8,
        class: tone,
      },
      svg("title", {}, title),
    );
  const bars = turn.calls.flatMap((call) => {
    const made = [];
    if (call.approval?.decided) made.push(bar(call.approval.asked, call.approval.decided, "warn", "waited for a person"));
    if (call.began !== null) made.push(bar(call.began, call.began + (call.seconds ?? 0), OUTCOMES[call.outcome]?.[1] ?? "dull", call.tool));
    return made;
  });
  return svg("svg", { class: "strip", viewBox: "0 0 1000 8", preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars);
}
