// Why a call was refused: the rule and its place, what the files of now say, and what would have it run.

import { el, pill, plain } from "./dom.js";
import * as server from "./server.js";

const TONES = { allow: "good", ask: "warn", deny: "bad" };
const PARTS = { decides: "decides", outranked: "outranked", "not met": "does not hold", "not evaluated": "could not be tried" };
const TICKS = /`([^`]*)`/;

/** Folded, and asked for once it is opened. */
export function refusal(call) {
  const place = el("div", { class: "refusal" }, el("p", { class: "hint" }, "Asking …"));
  const made = el(
    "details",
    { "data-part": `refusal-${call.id}`, toggle: (event) => event.target.open && fill(place, call) },
    el("summary", {}, "Why, and what would allow it"),
    place,
  );
  return made;
}

async function fill(place, call) {
  try {
    const found = await server.get(`api/calls/${encodeURIComponent(call.id)}/refusal`);
    place.replaceChildren(...content(found));
  } catch (problem) {
    if (!(problem instanceof server.Refused || problem instanceof server.Unreachable)) throw problem;
    const words = problem instanceof server.Refused ? problem.message : "Interlock does not answer.";
    place.replaceChildren(el("p", { class: "error" }, plain(words)));
  }
}

function content(found) {
  const now = found.now.decision;
  return [
    el("p", {}, "Refused by: ", plain(found.rule.replace(/\.$/, "")), "."),
    found.outdated || now !== "deny"
      ? el("p", {}, found.outdated ? "The files have changed since. " : "", "They now say ", pill(now, TONES[now]), " ", plain(found.now.rule), ".")
      : null,
    found.ways.length
      ? [
          el("p", {}, found.ways.length > 1 ? "What would have it run, all together:" : "What would have it run:"),
          el("ul", { class: "ways" }, found.ways.map((way) => el("li", {}, ticked(way)))),
        ]
      : el("p", {}, "No rule stands against it now. What stopped it is said above."),
    found.roles.some((role) => role.rules.length) ? rules(found.roles) : null,
  ].flat().filter(Boolean);
}

/** A sentence, with what stands between backticks as code. */
function ticked(words) {
  return words.split(TICKS).map((part, at) => (at % 2 ? el("code", {}, plain(part)) : plain(part)));
}

function rules(roles) {
  const rows = roles.flatMap((role) => role.rules);
  return el(
    "div",
    { class: "scroll stacks", tabindex: "0", role: "group", "aria-label": "The rules that speak of it" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ["Rule", "Place", "Its part"].map((name) => el("th", { scope: "col" }, name)))),
      el(
        "tbody",
        {},
        rows.map((rule) =>
          el(
            "tr",
            {},
            el("td", {}, pill(rule.decision, TONES[rule.decision]), " ", el("code", {}, plain(rule.pattern))),
            el("td", { class: "place" }, plain(rule.where)),
            el("td", {}, PARTS[rule.outcome] ?? rule.outcome, el("p", { class: "hint" }, plain(rule.why.replace(/^decides: /, "")))),
          ),
        ),
      ),
    ),
  );
}
