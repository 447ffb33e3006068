// The way that a turn took through its graph: node by node, with times, ways on and model calls, and each node's place.

import { el, pill, plain } from "./dom.js";
import { isDrawn, nodeAddress } from "./graphs.js";
import { count, duration, lapse } from "./words.js";

const ERROR_WAY = -1;
const OPEN_UP_TO = 12;

/** The way of a turn; null where none was recorded. */
export function path(turn) {
  const taken = turn.path;
  if (!taken || !taken.steps.length) return null;
  const nodes = count(taken.steps.length + taken.more, "step");
  return el(
    "details",
    { class: "path", "data-part": "path", open: taken.steps.length <= OPEN_UP_TO },
    el("summary", {}, `The way through the graph: ${nodes}, ${tokens(taken)}`, spent(taken)),
    el(
      "ol",
      { class: "timeline" },
      taken.steps.map((step) => row(step, turn)),
      taken.more ? el("li", { class: "step" }, el("p", { class: "hint" }, `And ${count(taken.more, "step")} more.`)) : null,
    ),
  );
}

/** How many model calls there were, and their time: what is not theirs went to tools and people. */
function spent({ steps }) {
  const calls = steps.flatMap((step) => step.models ?? []);
  const more = steps.reduce((sum, step) => sum + (step.more_models ?? 0), 0);
  return calls.length ? ["; ", count(calls.length + more, "model call"), ` took ${more ? "more than " : ""}`, lapse(sum(calls, "seconds"))] : null;
}

function sum(calls, name) {
  return calls.reduce((total, call) => total + (call[name] ?? 0), 0);
}

function row(step, turn) {
  const name = step.graph === turn.graph ? step.node : `${step.graph}/${step.node}`;
  const offset = turn.began === null ? "" : `+${duration(step.began - turn.began)}`;
  const took = step.seconds === null ? "" : `took ${duration(step.seconds)}`;
  const [word, tone] = state(step, turn);
  const said = facts(step);
  return el(
    "li",
    { class: `step ${tone}` },
    el(
      "p",
      { class: "what" },
      el("code", { class: "tool" }, place(step, plain(name))),
      step.type ? el("span", { class: "hint" }, plain(step.type)) : null,
      word ? pill(word, tone) : null,
      el("span", { class: "when" }, [offset, took].filter(Boolean).join(", ")),
    ),
    said.length ? el("p", { class: "hint" }, said.flatMap((fact, at) => (at ? ["; ", fact] : [fact]))) : null,
    step.models || step.more_models
      ? el(
          "ul",
          { class: "models" },
          (step.models ?? []).map((call) => el("li", {}, model(call))),
          step.more_models ? el("li", {}, `and ${step.more_models} more`) : null,
        )
      : null,
  );
}

/** A link to the node in the drawing of its graph, where this role may see that. */
function place(step, name) {
  return isDrawn(step.graph) ? el("a", { href: nodeAddress(step.graph, step.node), title: "Show it in the drawing" }, name) : name;
}

function state(step, turn) {
  if (step.error) return [`failed: ${step.error}`, step.way ? "warn" : "bad"];
  if (step.paused) return [turn.status === "waiting" ? "waits for a person" : "waited for a person", "warn"];
  if (step.seconds === null) return turn.status === "running" ? ["running", "info"] : ["its end was not recorded", "dull"];
  return [null, step.failed ? "warn" : "good"];
}

function facts(step) {
  const calls = step.models ?? [];
  return [
    step.waited === undefined ? null : ["waited ", lapse(step.waited), " for a person"],
    step.tasks === undefined ? null : count(step.tasks, "task") + (step.failed ? `, ${step.failed} failed` : ""),
    step.retries ? count(step.retries, "further attempt") : null,
    calls.length > 1 && !step.more_models
      ? [`${count(calls.length, "model call")}, `, lapse(sum(calls, "seconds")), `, ${tokens({ prompt: sum(calls, "prompt"), completion: sum(calls, "completion") })}`]
      : null,
    step.way ? plain(way(step.way)) : null,
  ].filter((fact) => fact !== null);
}

function way({ at, to, of, value }) {
  if (at === ERROR_WAY) return `on_error → ${to}`;
  if (value !== undefined) return `${value} → ${to}`;
  return of > 1 ? `way ${at + 1} of ${of} → ${to}` : `→ ${to}`;
}

function model(call) {
  const outcome = call.outcome === "ok" ? "" : `, ${call.outcome}`;
  return [plain(call.model), ", ", lapse(call.seconds), call.prompt === null ? "" : `, ${tokens(call)}`, plain(outcome)];
}

function tokens({ prompt, completion }) {
  return `${prompt.toLocaleString()} tokens in, ${(completion ?? 0).toLocaleString()} out`;
}
