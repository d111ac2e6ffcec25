// SPDX-License-Identifier: Apache-2.0
// Bold text in Korean. CommonMark does not end it where a mark of punctuation stands before the asterisks and a
// letter behind, as in **"말"**은: Korean particles follow without a space.

import type { TokenizerExtension } from "marked";

const STRONG = /^\*\*(?!\s)((?:\\.|`[^`\n]*`|[^*\\`])+?)(?<!\s)\*\*(?!\*)/s;

export const strong: TokenizerExtension = {
  name: "strong",
  level: "inline",
  start: (source) => {
    const at = source.indexOf("**");
    return at < 0 ? undefined : at;
  },
  tokenizer(source) {
    const match = STRONG.exec(source);
    if (match === null) return undefined;
    return { type: "strong", raw: match[0], text: match[1], tokens: this.lexer.inlineTokens(match[1]) };
  },
};
