// The tools of one server: what each takes, and what roles may do with it, with the rules and their places.

import { el, pill, plain } from "./dom.js";
import * as server from "./server.js";

const TONES = { allow: "good", ask: "warn", deny: "bad", depends: "info" };
const WORDS = { depends: "depends on the call" };

/** Folded, and asked for once it is opened. */
export function toolsOf(name) {
  const place = el("div", { class: "tool-list" }, el("p", { class: "hint" }, "Asking …"));
  return el(
    "details",
    { "data-part": "rights", toggle: (event) => event.target.open && event.target.dataset.part === "rights" && fill(place, name) },
    el("summary", {}, "Arguments and rights"),
    place,
  );
}

async function fill(place, name) {
  try {
    const found = await server.get(`api/servers/${encodeURIComponent(name)}/tools`);
    place.replaceChildren(...(found.tools.length ? found.tools.map((each) => tool(each, found.role)) : [el("p", { class: "hint" }, "No tools are known now.")]));
  } catch (problem) {
    if (!(problem instanceof server.Refused || problem instanceof server.Unreachable)) throw problem;
    const words = problem instanceof server.Refused ? problem.message : "Interlock does not answer.";
    place.replaceChildren(el("p", { class: "error" }, plain(words)));
  }
}

function tool(found, role) {
  const own = found.rights.find((each) => each.role === role);
  return el(
    "details",
    { class: "tool-card" },
    el("summary", {}, el("code", {}, plain(found.name)), " ", own ? verdict(own.decision) : null),
    el("p", {}, plain(found.description)),
    el("p", { class: "hint" }, hints(found)),
    el("ul", { class: "rights" }, found.rights.map(right)),
    el(
      "details",
      {},
      el("summary", {}, "Arguments, as JSON Schema"),
      el("pre", { tabindex: "0", role: "group", "aria-label": "JSON Schema of the arguments" }, plain(found.schema)),
    ),
  );
}

function verdict(decision) {
  return pill(WORDS[decision] ?? decision, TONES[decision]);
}

function hints(found) {
  const said = found.read_only ? "Says that it only reads" : found.destructive ? "May lose what it changes" : "Says that it only adds";
  return [said, "; ", found.trusted ? "rules believe its server." : ["rules do not believe its server, which is not ", el("code", {}, "trusted"), "."]];
}

function right(found) {
  return el(
    "li",
    {},
    el("p", {}, "role ", el("strong", {}, plain(found.role)), " ", verdict(found.decision)),
    el(
      "ul",
      { class: "hint" },
      found.rules.map((rule) =>
        el(
          "li",
          {},
          el("code", {}, plain(`${rule.decision} ${rule.pattern}`)),
          rule.when ? [" when ", el("code", {}, plain(rule.when))] : null,
          rule.approver ? [", by ", plain(rule.approver)] : null,
          " (", plain(rule.where), rule.role === found.role ? null : [", role ", plain(rule.role)], ")",
        ),
      ),
      found.otherwise ? el("li", {}, plain(found.otherwise)) : null,
    ),
  );
}
