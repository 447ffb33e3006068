// Answers of models: the server reads their Markdown, and here its elements are made one by one, of these kinds alone.

import { el, plain } from "./dom.js";

const PLAIN = ["strong", "em", "s", "ul", "ol", "hr", "br", "thead", "tbody", "tr", "code"];
const BLOCKS = ["p", "li", "blockquote", "th", "td"]; // each may run from right to left, by its own first letter
const SCHEMES = ["http:", "https:", "mailto:"];
const kinds = {
  ...Object.fromEntries(PLAIN.map((tag) => [tag, (_, inner) => el(tag, {}, inner)])),
  ...Object.fromEntries(BLOCKS.map((tag) => [tag, (node, inner) => el(tag, { dir: "auto", class: aligned(node) }, inner)])),
  ol: (node, inner) => el("ol", { start: node.start === 1 ? null : node.start }, inner),
  // Not a heading of this page, whose outline is not the model's.
  heading: (node, inner) => el("p", { dir: "auto", class: `heading level-${node.level}` }, inner),
  pre: (node, inner) => [
    node.language ? el("p", { class: "hint" }, plain(node.language)) : null,
    el("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, inner),
  ],
  table: (_, inner) => el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, el("table", {}, inner)),
  link: (node, inner) => link(node, inner, textOf(node)),
  image: (node, inner) => link(node, ["Image: ", inner], null),
};

/** What `build_markdown` of the server made of an answer. */
export function markdown(blocks) {
  return el("div", { class: "markdown" }, blocks.map(build));
}

function build(node) {
  if (typeof node === "string") return plain(node);
  const inner = (node.children ?? []).map(build);
  return Object.hasOwn(kinds, node.tag) ? kinds[node.tag](node, inner) : inner;
}

function aligned(node) {
  return ["center", "right"].includes(node.align) ? node.align : null;
}

/** A link that says where it leads, so that its words cannot pass for another address. */
function link(node, inner, words) {
  const shown = words === node.address || `mailto:${words}` === node.address;
  const address = shown || !node.address ? null : el("span", { class: "address" }, " (", plain(node.address), ")");
  if (!node.opens || !opens(node.address)) return [inner, address];
  const made = el("a", { href: node.address, target: "_blank", rel: "noopener noreferrer nofollow" }, inner);
  return [made, address];
}

function opens(address) {
  try {
    return SCHEMES.includes(new URL(address).protocol);
  } catch {
    return false;
  }
}

function textOf(node) {
  return typeof node === "string" ? node : (node.children ?? []).map(textOf).join("");
}
