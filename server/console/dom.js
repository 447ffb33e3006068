// Makes and updates elements. Text from outside goes in as text nodes alone: nothing here ever parses markup.

// Characters that are not seen, or that turn the text around them about, must not hide what is approved.
// The same characters as `graphs/text.py` escapes: controls, formats, surrogates, private and unassigned ones, blanks
// other than the space, fillers, and variation selectors.
const UNSEEN = new RegExp(
  "[\\p{C}\\p{Zl}\\p{Zp}\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2800\\u3164\\ufe00-\\ufe0f\\uffa0" +
    "\\u{1d159}\\u{e0100}-\\u{e01ef}]|(?! )\\p{Zs}",
  "u",
);
const OF_EMOJI = /^\p{Extended_Pictographic}[\ufe0e\ufe0f]$/u;

/** An element. `attributes`: strings are set, true is set empty, null and false are left out, functions listen. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Text of others, with what cannot be seen made visible as its code point. */
export function plain(text) {
  const made = el("span", { class: "foreign" });
  let run = "";
  for (const [letter, seen] of letters(text)) {
    if (seen || letter === "\n" || letter === "\t") {
      run += letter;
      continue;
    }
    made.append(run, el("span", { class: "ghost", title: "a character that is not seen" }, codePoint(letter)));
    run = "";
  }
  made.append(run);
  return made;
}

/** The same as a string, where there is no place for elements. */
export function plainText(text) {
  return Array.from(letters(text), ([letter, seen]) => (seen ? letter : `[${codePoint(letter)}]`)).join("");
}

function* letters(text) {
  let before = "";
  for (const letter of text) {
    yield [letter, !UNSEEN.test(letter) || OF_EMOJI.test(before + letter)];
    before = letter;
  }
}

function codePoint(letter) {
  return `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A word in a coloured lozenge; the colour only repeats what the word says. */
export function pill(word, tone) {
  return el("span", { class: `pill ${tone}` }, word);
}

/**
 * Makes `list` hold one child for each item, in order. A child is made anew only where its item has changed, so that
 * focus, open details and half-typed notes survive; `carry(old, fresh)` takes over what else should.
 */
export function keyed(list, items, keyOf, make, carry = () => {}) {
  const before = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let at = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const content = JSON.stringify(item);
    let child = before.get(key);
    before.delete(key);
    if (!child || child.content !== content) {
      const fresh = make(item);
      fresh.dataset.key = key;
      fresh.content = content;
      if (child) {
        carry(child, fresh);
        if (child === at) at = fresh;
        child.replaceWith(fresh);
      }
      child = fresh;
    }
    if (child === at) at = at.nextElementSibling;
    else list.insertBefore(child, at);
  }
  for (const gone of before.values()) gone.remove();
}

/** Keeps what was opened open. */
export function carryOpen(old, fresh) {
  const opened = new Set([...old.querySelectorAll("details[open]")].map((each) => each.dataset.part));
  for (const each of fresh.querySelectorAll("details")) each.open = opened.has(each.dataset.part);
  const focused = old.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.part : null;
  if (focused) {
    // The element is not in the page yet when this runs.
    queueMicrotask(() => {
      const again = [...fresh.querySelectorAll("details")].find((each) => each.dataset.part === focused);
      again?.querySelector("summary").focus({ preventScroll: true });
    });
  }
}
