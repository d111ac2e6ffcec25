// SPDX-License-Identifier: Apache-2.0
// Formulas in Markdown: $…$, \(…\), $$…$$ and \[…\].

import type { TokenizerAndRendererExtension, Tokens } from "marked";
import { escapeHtml } from "./escape.ts";

const BLOCK = /^ {0,3}(?:\$\$((?:\\[\s\S]|[^$\\])+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n+|$)/;
// Prices are no formulas: there is no space inside of the dollars, and no digit behind the last one.
const INLINE =
  /^(?:\$\$((?:\\[\s\S]|[^$\\])+?)\$\$|\\\[([\s\S]+?)\\\]|\\\((.+?)\\\)|\$(?![\s$])((?:\\.|[^\\$\n`])+?)(?<!\s)\$(?!\d))/;

/** A paragraph that begins so is a formula whose end is yet to come. */
export const OPEN_BLOCK = /^ {0,3}(?:\$\$|\\\[)/;

function html(token: Tokens.Generic): string {
  return `<span class="${token.display ? "math display" : "math"}">${escapeHtml(token.text)}</span>`;
}

export const blockMath: TokenizerAndRendererExtension = {
  name: "blockMath",
  level: "block",
  start: (source) => {
    const match = /\n {0,3}(?:\$\$|\\\[)/.exec(source);
    return match ? match.index + 1 : undefined;
  },
  tokenizer: (source) => {
    const match = BLOCK.exec(source);
    if (match === null) return undefined;
    return { type: "blockMath", raw: match[0], text: (match[1] ?? match[2]).trim(), display: true };
  },
  renderer: (token) => `<p>${html(token)}</p>\n`,
};

export const inlineMath: TokenizerAndRendererExtension = {
  name: "inlineMath",
  level: "inline",
  start: (source) => {
    const at = source.search(/\$|\\[([]/);
    return at < 0 ? undefined : at;
  },
  tokenizer: (source) => {
    const match = INLINE.exec(source);
    if (match === null) return undefined;
    const display = match[1] ?? match[2];
    const text = (display ?? match[3] ?? match[4]).trim();
    return { type: "inlineMath", raw: match[0], text, display: display !== undefined };
  },
  renderer: html,
};
