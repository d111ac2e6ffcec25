// SPDX-License-Identifier: Apache-2.0
// Server-sent events, from pieces of text that may end anywhere.

/** Takes a stream apart into the data of its events. */
export class EventParser {
  private rest = "";
  private data: string[] = [];
  private first = true;

  /** The data of the events that this piece completes. */
  push(piece: string): string[] {
    let text = this.rest + piece;
    if (this.first && text !== "") {
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      this.first = false;
    }
    const events: string[] = [];
    let start = 0;
    for (;;) {
      const end = lineEnd(text, start);
      if (end === null) break;
      this.line(text.slice(start, end.at), events);
      start = end.next;
    }
    this.rest = text.slice(start);
    return events;
  }

  private line(line: string, events: string[]): void {
    if (line === "") {
      if (this.data.length > 0) events.push(this.data.join("\n"));
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    // Comments keep connections open, and the other fields mean nothing here.
    if (field !== "data") return;
    const value = colon < 0 ? "" : line.slice(colon + 1);
    this.data.push(value.startsWith(" ") ? value.slice(1) : value);
  }
}

function lineEnd(text: string, start: number): { at: number; next: number } | null {
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (character === "\n") return { at, next: at + 1 };
    if (character === "\r") {
      // Whether a line feed follows is not known yet.
      if (at + 1 === text.length) return null;
      return { at, next: text[at + 1] === "\n" ? at + 2 : at + 1 };
    }
  }
  return null;
}
