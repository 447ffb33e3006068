// Signs in and out, and asks the server again and again what there is.

import * as approvals from "./approvals.js";
import * as audit from "./audit.js";
import { el, plain } from "./dom.js";
import * as graphs from "./graphs.js";
import * as questions from "./questions.js";
import * as server from "./server.js";
import * as servers from "./servers.js";
import * as trial from "./trial.js";
import * as turns from "./turns.js";
import { clock } from "./words.js";

const OFTEN = 2000;
const HIDDEN = 15_000;
const FIRST = 50;
const MORE = 50;
const MOST = 200;

const $ = (id) => document.getElementById(id);
let session = 0; // counts up: what an earlier session still waits for is not shown in this one
let wanted = FIRST;
let you = null;
let heard = null;
let wake = () => {};

async function begin() {
  const mine = ++session;
  $("sign-in").hidden = true;
  let first = true;
  while (mine === session) {
    try {
      await refresh(mine);
      if (mine !== session) return;
      heard = new Date();
      $("lost").hidden = true;
      if (first) entered();
      first = false;
    } catch (problem) {
      if (mine !== session) return;
      if (problem instanceof server.Refused && [401, 403].includes(problem.status)) return leave(problem.message);
      if (!(problem instanceof server.Refused || problem instanceof server.Unreachable)) throw problem;
      lost(problem);
    }
    await pause(document.hidden ? HIDDEN : OFTEN);
  }
}

async function refresh(mine) {
  const state = await server.get("api/state");
  // Nobody sees a hidden tab but for its title, which counts the calls that wait.
  const latest = document.hidden ? undefined : await server.get(`api/turns?limit=${wanted}`);
  if (mine !== session) return;
  if (state) {
    you = state.you;
    $("who-name").replaceChildren(plain(you.user), " · role ", plain(you.narrowed_by ? `${you.role} and ${you.narrowed_by}` : you.role));
    problems(state.problems);
    approvals.show(state.approvals);
    questions.show(state.questions);
    graphs.show(state.graphs, state.snapshot);
    servers.show(state.servers);
    trial.show(state.trials);
    $("foot").replaceChildren("Interlock is ", el("strong", {}, state.status), ". Snapshot of the files: ", el("code", {}, state.snapshot), ".");
  }
  if (latest) {
    turns.show(latest.turns, you.remembers);
    $("more-turns").hidden = !latest.more;
  }
}

function problems(lines) {
  $("problems").hidden = lines.length === 0;
  $("problem-list").replaceChildren(...lines.map((line) => el("li", {}, el("code", {}, plain(line)))));
}

function entered() {
  for (const id of ["board", "ways", "who"]) $(id).hidden = false;
}

function leave(words = "") {
  session++;
  server.forgetKey();
  for (const id of ["board", "ways", "who", "lost"]) $(id).hidden = true;
  for (const id of ["graph-list", "server-list", "problem-list"]) $(id).replaceChildren();
  approvals.clear();
  questions.clear();
  turns.clear();
  trial.clear();
  audit.clear();
  you = heard = null;
  wanted = FIRST;
  $("sign-in").hidden = false;
  $("key-error").textContent = words;
  $("key-error").hidden = !words;
  $("key").focus();
}

function lost(problem) {
  const since = heard ? ` What you see is from ${clock(heard)}.` : "";
  const what = problem instanceof server.Refused ? problem.message : "Interlock does not answer.";
  const words = `${what}${since} Trying again …`;
  if ($("lost").hidden || $("lost").textContent !== words) $("lost").textContent = words;
  $("lost").hidden = false;
}

function pause(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = $("key").value.trim();
  $("key").value = "";
  if (!/^[\x21-\x7e]+$/.test(typed)) {
    $("key-error").textContent = "This cannot be a key: a key has no spaces, and no letters beyond those of English.";
    $("key-error").hidden = false;
    return;
  }
  server.keepKey(typed);
  $("key-error").hidden = true;
  begin();
});
$("sign-out").addEventListener("click", () => leave());
$("more-turns").addEventListener("click", () => {
  wanted = Math.min(MOST, wanted + MORE);
  wake();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) wake();
});
setInterval(approvals.tick, 1000);

if (server.key()) begin();
else leave();
