// MCP servers: how each is, why one is down, and the tools that this role may call.

import { carryOpen, el, keyed, pill, plain } from "./dom.js";
import { toolsOf } from "./tools.js";
import { count } from "./words.js";

const TONES = { up: "good", starting: "warn", down: "bad" };
const list = document.getElementById("server-list");

export function show(servers) {
  document.getElementById("no-servers").hidden = servers.length > 0;
  list.hidden = servers.length === 0;
  keyed(list, servers, (server) => server.name, row, carryOpen);
}

function row(server) {
  return el(
    "li",
    { class: "server" },
    el("div", { class: "head" }, el("h3", {}, plain(server.name)), pill(server.status, TONES[server.status] ?? "dull")),
    server.reason ? el("p", { class: "why" }, plain(server.reason)) : null,
    server.tools.length
      ? el(
          "details",
          { "data-part": "tools" },
          el("summary", {}, `${count(server.tools.length, "tool")} for your role`),
          el("ul", { class: "tools" }, server.tools.map((tool) => el("li", {}, el("code", {}, plain(tool))))),
        )
      : null,
    toolsOf(server.name),
  );
}
