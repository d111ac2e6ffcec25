// SPDX-License-Identifier: Apache-2.0
// A text that grows, as blocks of Markdown. Only the last block changes while a text grows, so only that one is
// read and drawn again: long answers do not get slower.

import { OPEN_BLOCK } from "./math.ts";
import { blocksOf } from "./parser.ts";

// What looks like the begin of a formula may hold back this many characters.
const LONGEST_FORMULA = 4000;

export class Blocks {
  private readonly done: string[] = [];
  /** Characters of the text that the blocks above are. */
  private position = 0;

  /** The texts of the blocks: all but the last one are the same from now on. */
  update(grown: string): string[] {
    const text = normal(grown);
    // Only whole lines say what a block is: "2" may become "2. a", which goes on with a list.
    const end = text.lastIndexOf("\n") + 1;
    if (end > this.position) {
      for (const block of complete(text.slice(this.position, end))) {
        this.done.push(block.text);
        this.position += block.length;
      }
    }
    const rest = text.slice(this.position);
    return rest.trim() === "" ? [...this.done] : [...this.done, rest];
  }
}

/** The blocks of a text that does not grow. */
export function wholeBlocks(text: string): string[] {
  const definitions: string[] = [];
  const blocks: string[] = [];
  for (const token of blocksOf(normal(text))) {
    if (token.type === "def") definitions.push(token.raw.trim());
    else if (token.type !== "space") blocks.push(token.raw);
  }
  if (definitions.length === 0) return blocks;
  // What [text][name] links to stands in another block.
  const behind = `\n\n${definitions.join("\n")}\n`;
  return blocks.map((block) => (block.includes("]") && !block.startsWith("```") ? block + behind : block));
}

function normal(text: string): string {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

function complete(text: string): { text: string; length: number }[] {
  const tokens = blocksOf(text);
  let last = tokens.findLastIndex((token) => token.type !== "space");
  const open = tokens.findIndex((token) => token.type === "paragraph" && OPEN_BLOCK.test(token.raw));
  if (open >= 0 && open < last) {
    const held = tokens.slice(open).reduce((length, token) => length + token.raw.length, 0);
    if (held < LONGEST_FORMULA) last = open;
  }
  const blocks: { text: string; length: number }[] = [];
  for (const token of tokens.slice(0, Math.max(0, last))) {
    const before = blocks.at(-1);
    if (token.type === "space" && before !== undefined) before.length += token.raw.length;
    else blocks.push({ text: token.type === "space" ? "" : token.raw, length: token.raw.length });
  }
  return blocks;
}
