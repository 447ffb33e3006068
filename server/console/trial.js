// A box in which an admin tries a graph as a role: what the rules of both say of each call, and what comes of it.

import { el, pill, plain, plainText } from "./dom.js";
import * as server from "./server.js";
import { count } from "./words.js";

const VERDICTS = { allow: ["allowed", "good"], ask: ["would be asked", "warn"], deny: ["denied", "bad"] };
const $ = (id) => document.getElementById(id);
const section = $("trial");
const form = $("trial-form");
const button = $("trial-go");
const result = $("trial-result");
const list = $("trial-calls");
let offered = "";
let under = null; // the AbortController of the trial that runs

/** Shows the box where this key may try graphs; `trials` says which graph it may try as which role. */
export function show(trials) {
  const roles = Object.keys(trials).filter((role) => trials[role].length);
  section.hidden = $("trial-way").hidden = roles.length === 0;
  const offer = JSON.stringify(trials);
  if (offer === offered) return;
  offered = offer;
  fill($("trial-role"), roles);
  choose(trials);
  $("trial-role").onchange = () => choose(trials);
}

export function clear() {
  under?.abort();
  form.reset();
  result.hidden = $("trial-error").hidden = true;
  $("trial-state").textContent = "";
  list.replaceChildren();
  $("trial-answer").replaceChildren();
  show({});
}

function choose(trials) {
  fill($("trial-graph"), trials[$("trial-role").value] ?? []);
}

/** Fills a choice, and keeps what was chosen where it is still there. */
function fill(select, names) {
  const before = select.value;
  select.replaceChildren(...names.map((name) => el("option", { value: name }, plainText(name))));
  if (names.includes(before)) select.value = before;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (under) under.abort();
  else attempt();
});

async function attempt() {
  const asked = {
    graph: $("trial-graph").value,
    role: $("trial-role").value,
    message: $("trial-message").value,
    run_tools: $("trial-runs").checked,
  };
  const mine = (under = new AbortController());
  const run = new Run(asked);
  button.textContent = "Stop";
  try {
    for await (const event of server.stream("api/trials", asked, mine.signal)) run.take(event);
    if (!run.ended) run.end("The answer was cut off: Interlock went away.");
  } catch (problem) {
    if (mine.signal.aborted) run.end("Stopped.");
    else if (problem instanceof server.Refused) run.end(problem.message, true);
    else if (problem instanceof server.Unreachable) run.end("Interlock does not answer.", true);
    else throw problem;
  } finally {
    if (under === mine) {
      under = null;
      button.textContent = "Try it";
    }
  }
}

/** One trial, and what is shown of it. */
class Run {
  constructor(asked) {
    this.asked = asked;
    this.calls = new Map();
    this.ended = false;
    this.answer = "";
    result.hidden = false;
    list.replaceChildren();
    $("trial-answer").replaceChildren();
    $("trial-error").hidden = true;
    this.say(`Trying ${plainText(asked.graph)} as ${plainText(asked.role)} …`);
  }

  take(event) {
    switch (event.type) {
      case "text":
        this.answer += event.text;
        $("trial-answer").replaceChildren(el("blockquote", {}, plain(this.answer.trim())));
        break;
      case "note":
        list.append(el("li", { class: "step" }, el("p", { class: "hint" }, plain(event.node), ": ", plain(event.text), ".")));
        break;
      case "call":
        this.judge(event);
        break;
      case "refused":
        if (!this.calls.has(event.id)) this.judge({ ...event, verdict: "deny", rule: event.reason, by_role: [] });
        break;
      case "started":
        this.outcome(event.id, "running", "info");
        break;
      case "result":
        this.outcome(event.id, event.failed ? "failed" : "done", event.failed ? "bad" : "good");
        this.calls.get(event.id)?.querySelector(".pair").append(part("Result", event.text));
        break;
      case "waits":
        this.say(event.approvals.length
          ? `The trial waits until ${count(event.approvals.length, "call is", "calls are")} decided, under “Waiting for a decision”.`
          : "The trial waits for the answer to a question, under “Waiting for an answer”.");
        break;
      case "error":
        this.end(event.message, true);
        break;
      case "end":
        this.end(`The trial has ended: ${this.sum()}.`);
    }
  }

  judge(call) {
    const made = judged(call, this.asked.run_tools);
    const before = this.calls.get(call.id); // a turn that waited decides again
    if (before) before.replaceWith(made);
    else list.append(made);
    made.verdict = call.verdict;
    this.calls.set(call.id, made);
  }

  outcome(id, word, tone) {
    this.calls.get(id)?.querySelector(".came").replaceChildren(pill(word, tone));
  }

  sum() {
    const made = [...this.calls.values()];
    if (!made.length) return "it made no tool call";
    const parts = Object.entries(VERDICTS).map(([verdict, [word]]) => [made.filter((each) => each.verdict === verdict).length, word]);
    return `${count(made.length, "tool call")}, ${parts.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(", ")}`;
  }

  say(words) {
    $("trial-state").textContent = words;
  }

  end(words, failed = false) {
    this.ended = true;
    this.say(failed ? "" : words);
    $("trial-error").hidden = !failed;
    $("trial-error").replaceChildren(failed ? plain(words) : "");
  }
}

/** One call: what both roles say, the stricter of which holds. */
function judged(call, runs) {
  const [word, tone] = runs && call.verdict === "ask" ? ["asked", "warn"] : VERDICTS[call.verdict];
  const came = call.verdict === "deny" || !runs ? pill("not run", "dull") : null;
  return el(
    "li",
    { class: `step call ${tone}` },
    el("p", { class: "what" }, el("code", { class: "tool" }, plain(call.tool)), pill(word, tone), el("span", { class: "came" }, came)),
    call.by_role.length
      ? el("ul", { class: "by-role" }, call.by_role.map((each) => {
          const [said, colour] = VERDICTS[each.decision];
          return el("li", {}, el("strong", {}, plain(each.role)), " ", pill(said, colour), " ", el("span", { class: "rule" }, plain(each.rule)));
        }))
      : el("p", { class: "rule" }, plain(call.rule)),
    el("div", { class: "pair" }, part("Arguments", call.arguments)),
  );
}

function part(title, text) {
  return el("details", {}, el("summary", {}, title), el("pre", { tabindex: "0", role: "group", "aria-label": title }, plain(text)));
}
