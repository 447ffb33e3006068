// Graphs as drawings, with how many turns are in each node now, and the node that an address of this page points at.

import { el, keyed, pill, plain } from "./dom.js";
import * as server from "./server.js";
import { count } from "./words.js";

const TONES = { ok: "good", degraded: "warn", failed: "bad" };
const AIM = /^#node\/([^/]+)\/([^/]+)$/;
const list = document.getElementById("graph-list");
const shown = new Set();

/** Shows the graphs; drawings are fetched anew when the files have changed. */
export function show(graphs, snapshot) {
  document.getElementById("no-graphs").hidden = graphs.length > 0;
  shown.clear();
  for (const graph of graphs) shown.add(graph.id);
  const still = graphs.map(({ id, description, status, reason }) => ({ id, description, status, reason, snapshot }));
  keyed(list, still, (graph) => graph.id, card);
  for (const graph of graphs) counted([...list.children].find((each) => each.dataset.key === graph.id), graph);
}

/** Whether there is a drawing of this graph on the page. */
export function isDrawn(graph) {
  return shown.has(graph);
}

/** The address at which a node is marked in its drawing. */
export function nodeAddress(graph, node) {
  return `#node/${encodeURIComponent(graph)}/${encodeURIComponent(node)}`;
}

/** Graph and node that the page's address points at; an empty list where it points at none. */
function target() {
  try {
    return (AIM.exec(location.hash) ?? []).slice(1).map(decodeURIComponent);
  } catch {
    return []; // a `%` of somebody's own
  }
}

/** Marks the node that the page's address points at, and no other. `follow`: brings it into view. */
function aim(follow) {
  const [graph, node] = target();
  for (const made of list.children) {
    const words = made.querySelector(".aim");
    const marked = [...made.querySelectorAll("g.node")].filter((each) => {
      const here = made.dataset.key === graph && each.dataset.node === node;
      each.classList.toggle("aimed", here);
      return here;
    });
    words.hidden = made.dataset.key !== graph || !made.querySelector("svg");
    if (words.hidden) continue;
    words.replaceChildren(marked.length ? "Marked: " : "Not in the drawing of today’s files: ", el("code", {}, plain(node)), ".");
    if (!follow) continue;
    made.scrollIntoView({ block: "nearest" });
    marked[0]?.scrollIntoView({ block: "nearest", inline: "center" });
    words.focus({ preventScroll: true });
  }
}

window.addEventListener("hashchange", () => aim(true));

function card(graph) {
  const place = el("div", { class: "drawing" });
  const made = el(
    "li",
    { class: "card graph" },
    el("div", { class: "head" }, el("h3", {}, plain(graph.id)), pill(graph.status, TONES[graph.status] ?? "dull")),
    graph.description ? el("p", {}, plain(graph.description)) : null,
    graph.reason ? el("p", { class: "why" }, plain(graph.reason)) : null,
    place,
    el("p", { class: "hint aim", tabindex: "-1", hidden: true }),
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
    aim(false);
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
