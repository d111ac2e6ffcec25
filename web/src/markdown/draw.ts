// SPDX-License-Identifier: Apache-2.0
// A block of Markdown as elements of the page.

import DOMPurify from "dompurify";
import temml from "temml";
import type { Strings } from "../i18n/languages.ts";
import { highlighted } from "./highlight.ts";
import { toHtml } from "./parser.ts";

const SAFE = {
  RETURN_DOM_FRAGMENT: true,
  ALLOWED_TAGS: [
    ...["a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "img", "kbd", "li", "mark", "ol"],
    ...["p", "pre", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"],
  ],
  ALLOWED_ATTR: ["align", "alt", "class", "data-checked", "data-language", "href", "src", "start", "title"],
  // Their values are no addresses, so the expression below is not for them.
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|tel:|data:image\/(?:png|jpeg|gif|webp);)/i,
} as const;

/** Puts a block into an element. The last block of a text that grows is open: its code gets colours later. */
export function draw(element: HTMLElement, text: string, open: boolean, t: Strings): void {
  const content = DOMPurify.sanitize(toHtml(text), SAFE as never) as unknown as DocumentFragment;
  for (const math of content.querySelectorAll<HTMLElement>("span.math")) drawMath(math, t);
  for (const link of content.querySelectorAll("a")) openElsewhere(link, t);
  for (const table of content.querySelectorAll("table")) wrapTable(table, t);
  for (const check of content.querySelectorAll<HTMLElement>("span.check")) drawCheck(check, t);
  for (const code of content.querySelectorAll("pre")) drawCode(code, open, t);
  element.replaceChildren(content);
  if (open) return;
  // Whoever has no mouse scrolls by keys, once the element has the focus.
  for (const wide of element.querySelectorAll<HTMLElement>("pre > code, .table")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
}

function drawMath(element: HTMLElement, t: Strings): void {
  const source = element.textContent ?? "";
  const displayMode = element.classList.contains("display");
  try {
    temml.render(source, element, { displayMode, throwOnError: true, trust: false, maxExpand: 500, strict: false });
  } catch {
    // While a formula grows it is often not one yet.
    element.replaceChildren(source);
    element.classList.add("unread");
    element.title = t.mathError;
  }
}

function openElsewhere(link: HTMLAnchorElement, t: Strings): void {
  if (!link.hasAttribute("href")) return link.replaceWith(...link.childNodes);
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.title = link.title === "" ? `${link.href} (${t.link})` : link.title;
}

function wrapTable(table: HTMLTableElement, t: Strings): void {
  const wrapper = document.createElement("div");
  wrapper.className = "table";
  wrapper.setAttribute("role", "region");
  wrapper.setAttribute("aria-label", t.scrollable);
  table.replaceWith(wrapper);
  wrapper.append(table);
}

function drawCheck(check: HTMLElement, t: Strings): void {
  const checked = check.dataset.checked === "true";
  check.setAttribute("role", "img");
  check.setAttribute("aria-label", checked ? t.done : t.notDone);
}

function drawCode(block: HTMLPreElement, open: boolean, t: Strings): void {
  const language = (block.dataset.language ?? "").toLowerCase();
  const code = block.querySelector("code");
  if (code === null) return;
  const html = open ? null : highlighted(code.textContent ?? "", language);
  // highlight.js escapes what it is given, and adds spans only.
  if (html !== null) code.innerHTML = html;
  const bar = document.createElement("div");
  bar.className = "bar";
  const label = document.createElement("span");
  label.textContent = language;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy-code";
  copy.textContent = t.copyCode;
  bar.append(label, copy);
  block.prepend(bar);
}
