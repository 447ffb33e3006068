// Questions of graphs that wait for an answer: buttons for one choice, a form for everything else.

import { el, keyed, plain, plainText } from "./dom.js";
import * as server from "./server.js";
import { count, moment } from "./words.js";

const section = document.getElementById("questions");
const list = document.getElementById("question-list");
const said = document.getElementById("said");
let before = new Set();

/** Shows what waits, oldest first. */
export function show(entries) {
  const fresh = entries.filter((entry) => !before.has(entry.id));
  before = new Set(entries.map((entry) => entry.id));
  section.hidden = entries.length === 0;
  keyed(list, entries.toReversed(), (entry) => entry.id, card);
  if (fresh.length) said.textContent = `${count(fresh.length, "question waits", "questions wait")} for an answer: ${fresh.map((e) => plainText(e.question)).join(", ")}`;
}

export function clear() {
  show([]);
}

function card(entry) {
  const title = `question-${entry.id}`;
  return el(
    "li",
    { class: "card question", "aria-labelledby": title },
    el(
      "div",
      { class: "head" },
      el("h3", { id: title }, plain(entry.question)),
      el("span", { class: "aside-note" }, "open until ", moment(entry.expires)),
    ),
    el(
      "p",
      { class: "facts" },
      "Asked of ", entry.role === null ? el("strong", {}, plain(entry.caller)) : ["the role ", el("strong", {}, plain(entry.role))],
      " in ", el("strong", {}, plain(entry.graph)), " at ", moment(entry.created), " · ", el("code", {}, entry.id),
    ),
    entry.answerable ? form(entry) : el("p", { class: "hint" }, "Only the role ", plain(entry.role), " may answer this."),
  );
}

function form(entry) {
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const made = el("form", { class: "decision", submit: (event) => {
    event.preventDefault();
    send(read(controls));
  } });
  const controls = entry.fields.map((field, at) => ({ field, input: control(field, `answer-${entry.id}-${at}`) }));
  const [only] = controls;
  if (controls.length === 1 && !only.field.name && choices(only.field)) {
    made.append(el("div", { class: "answer" }, choices(only.field).map(([words, value]) =>
      el("button", { type: "button", "aria-describedby": `question-${entry.id}`, click: () => send(value) }, plain(words)))));
  } else {
    made.append(
      ...controls.map(({ field, input }) => el("p", {}, el("label", { for: input.id }, plain(field.name || "Answer"), field.is_optional ? el("span", { class: "hint" }, " (may be left out)") : null), input)),
      el("div", { class: "answer" }, el("button", { type: "submit" }, "Answer")),
    );
  }
  made.append(error);
  async function send(answer) {
    const buttons = made.querySelectorAll("button");
    const focused = document.activeElement; // a button that is disabled loses it
    for (const each of buttons) each.disabled = true;
    error.hidden = true;
    try {
      await server.post(`../v1/questions/${encodeURIComponent(entry.id)}`, { answer });
      said.textContent = `Answered: ${plainText(entry.question)}`;
      made.replaceWith(el("p", { class: "hint" }, "Answered. The chat goes on at once where its answer is still open, otherwise with its next message."));
    } catch (problem) {
      error.textContent = problem instanceof server.Refused ? plainText(problem.message) : "Interlock does not answer. Nothing was answered, as far as can be told; try again.";
      error.hidden = false;
      for (const each of buttons) each.disabled = false;
      if (made.contains(focused)) focused.focus();
    }
  }
  return made;
}

/** What may be chosen, each with its words; null where it is free text. */
function choices(field) {
  if (field.kind === "bool") return [["No", false], ["Yes", true]];
  return field.kind === "enum" ? field.values.map((value) => [value, value]) : null;
}

function control(field, id) {
  const found = choices(field);
  if (!found) return el("input", { id, type: "text", autocomplete: "off", maxlength: "20000" });
  const none = el("option", { value: "" }, field.is_optional ? "left out" : "choose");
  return el("select", { id }, none, found.map(([words], at) => el("option", { value: String(at) }, plainText(words))));
}

/** The answer as JSON; what does not fit is for the server to say. */
function read(controls) {
  const given = controls.map(({ field, input }) => [field.name, value(field, input)]);
  if (!controls[0].field.name) return given[0][1];
  return Object.fromEntries(given.filter(([, one]) => one !== null));
}

function value(field, input) {
  if (input.value === "") return null;
  const found = choices(field);
  if (found) return found[Number(input.value)][1];
  if (field.kind === "string") return input.value;
  const number = Number(input.value);
  // A browser would round it: as text, the server says what is wrong.
  const isExact = Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return isExact ? number : input.value;
}
