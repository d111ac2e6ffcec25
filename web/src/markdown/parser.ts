// SPDX-License-Identifier: Apache-2.0
// Markdown as models write it, to HTML without anything that a page must not have from others.

import { Lexer, Marked, type Token } from "marked";
import { escapeHtml } from "./escape.ts";
import { blockMath, inlineMath } from "./math.ts";
import { strong } from "./strong.ts";

// Tags that Markdown has no words for. Other tags are shown as text: a model that writes List<String> means that.
const TAG = /^<\/?(?:br|sub|sup|kbd|mark|u)\s*\/?>$/i;

// Lines end where the model ended them, as in poems.
const marked = new Marked({ gfm: true, breaks: true });

marked.use({
  extensions: [blockMath, inlineMath, strong],
  renderer: {
    html: ({ raw, block }) => {
      if (TAG.test(raw.trim())) return raw;
      return block ? `<p class="source">${escapeHtml(raw.trimEnd())}</p>\n` : escapeHtml(raw);
    },
    // Below the headings of the page.
    heading({ tokens, depth }) {
      return `<h${Math.min(6, depth + 2)} class="h${depth}">${this.parser.parseInline(tokens)}</h${Math.min(6, depth + 2)}>\n`;
    },
    code: ({ text, lang }) => {
      const language = (lang ?? "").trim().split(/\s/, 1)[0];
      return `<pre data-language="${escapeHtml(language)}"><code>${escapeHtml(text)}\n</code></pre>\n`;
    },
    // Nothing is fetched from elsewhere: a picture is a link, unless it is in the text itself.
    image: ({ href, text, title }) => {
      if (/^data:image\/(?:png|jpeg|gif|webp);/i.test(href)) {
        return `<img src="${escapeHtml(href)}" alt="${escapeHtml(text)}">`;
      }
      return `<a href="${escapeHtml(href)}">${escapeHtml(text || title || href)}</a>`;
    },
    checkbox: ({ checked }) => `<span class="check" data-checked="${checked}"></span> `,
  },
});

/** The HTML of a text. It is to be sanitized: links are as the text has them. */
export function toHtml(text: string): string {
  return marked.parse(text, { async: false });
}

/** The blocks of a text, without what is in them. */
export function blocksOf(text: string): Token[] {
  return new Lexer(marked.defaults).blockTokens(text, []);
}
