// What would keep somebody from reading or using a page, in words: names, ids, headings, contrast (WCAG 2, AA).
() => {
  const found = [];
  const shown = (each) => each.checkVisibility() && each.getClientRects().length > 0;
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`the id ${id} is there twice`);
  for (const each of document.querySelectorAll("input, button, select, textarea, a[href], summary, [role=img]")) {
    if (!shown(each)) continue;
    const name = each.labels?.[0]?.textContent || each.getAttribute("aria-label") || each.textContent;
    if (!name.trim()) found.push(`no name: ${each.outerHTML.slice(0, 80)}`);
  }
  for (const each of document.querySelectorAll("[aria-describedby], [aria-labelledby]")) {
    const named = `${each.getAttribute("aria-describedby") ?? ""} ${each.getAttribute("aria-labelledby") ?? ""}`;
    for (const id of named.split(" ").filter(Boolean)) if (!document.getElementById(id)) found.push(`no ${id}`);
  }
  for (const each of document.querySelectorAll("img")) if (!each.hasAttribute("alt")) found.push("an image without alt");
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(shown).map((each) => Number(each.tagName[1]));
  levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) found.push(`h${level} after h${levels[at - 1]}`); });

  // Contrast by WCAG 2: 4.5 to 1 for text.
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (front, back) => front.length < 4 ? front : front.slice(0, 3).map((v, at) => v * front[3] + back[at] * (1 - front[3]));
  const ground = (each) => {
    const layers = [];
    for (let at = each; at; at = at.parentElement) layers.push(numbers(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255]);
  };
  const opacity = (each) => each ? Number(getComputedStyle(each).opacity) * opacity(each.parentElement) : 1;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const each = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !shown(each) || each.closest("svg, .unseen, :disabled")) continue;
    const back = ground(each);
    const front = over([...numbers(getComputedStyle(each).color).slice(0, 3), opacity(each)], back);
    const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...new Set(found)];
}
