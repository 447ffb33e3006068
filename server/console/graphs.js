// Graphs as drawings, with how many turns are in each node now.

import { el, keyed, pill, plain } from "./dom.js";
import * as server from "./server.js";
import { count } from "./words.js";

const TONES = { ok: "good", degraded: "warn", failed: "bad" };
const list = document.getElementById("graph-list");

/** Shows the graphs; drawings are fetched anew when the files have changed. */
export function show(graphs, snapshot) {
  document.getElementById("no-graphs").hidden = graphs.length > 0;
  const still = graphs.map(({ id, description, status, reason }) => ({ id, description, status, reason, snapshot }));
  keyed(list, still, (graph) => graph.id, card);
  for (const graph of graphs) counted([...list.children].find((each) => each.dataset.key === graph.id), graph);
}

function card(graph) {
  const place = el("div", { class: "drawing" });
  const made = el(
    "li",
    { class: "card graph" },
    el("div", { class: "head" }, el("h3", {}, plain(graph.id)), pill(graph.status, TONES[graph.status] ?? "dull")),
    graph.description ? el("p", {}, plain(graph.description)) : null,
    graph.reason ? el("p", { class: "why" }, plain(graph.reason)) : null,
    place,
    el("p", { class: "hint running" }),
  );
  draw(made, place, graph);
  return made;
}

async function draw(made, place, graph) {
  try {
    const picture = await server.drawing(`api/graphs/${encodeURIComponent(graph.id)}.svg`);
    // There are several drawings on this page, and an id may be there once.
    for (const each of picture.querySelectorAll("[id]")) each.removeAttribute("id");
    place.replaceChildren(picture);
    crop(picture);
    if (made.graph) counted(made, made.graph);
  } catch {
    place.replaceChildren(el("p", { class: "hint" }, "The drawing could not be fetched."));
  }
}

/** Cuts the drawing down to the graph itself: the card says its name and description already. */
function crop(picture) {
  const group = picture.querySelector("g.picture");
  const move = group?.transform.baseVal.consolidate()?.matrix;
  if (!move) return;
  const box = group.getBBox();
  const edge = 6;
  const wide = box.width + 2 * edge;
  picture.setAttribute("viewBox", `${box.x + move.e - edge} ${box.y + move.f - edge} ${wide} ${box.height + 2 * edge}`);
  picture.setAttribute("width", wide);
  picture.setAttribute("height", box.height + 2 * edge);
}

function counted(made, graph) {
  made.graph = graph;
  for (const node of made.querySelectorAll("g.node")) {
    const here = graph.nodes[node.dataset.node] ?? 0;
    const place = node.querySelector("text.count");
    if (place) place.textContent = here || "";
    node.classList.toggle("busy", here > 0);
  }
  const places = Object.entries(graph.nodes).map(([node, turns]) => `${turns} in ${node}`);
  const others = graph.running - Object.values(graph.nodes).reduce((sum, turns) => sum + turns, 0);
  if (others > 0) places.push(`${others} waiting`);
  made.querySelector(".running").textContent = graph.running
    ? `${count(graph.running, "turn runs", "turns run")} now: ${places.join(", ")}.`
    : "No turn runs now.";
}
