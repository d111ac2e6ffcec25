// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "../src/api/sse.ts";

const STREAM = '\ufeff: hello\r\n\r\ndata: {"a":\ndata: 1}\n\nevent: x\rdata:두 번째\r\rid: 3\n\ndata\n\ndata: last';
const EVENTS = ['{"a":\n1}', "두 번째", ""];

test("events, however the stream is cut", () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new EventParser();
    const events: string[] = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.push(STREAM.slice(at, at + size)));
    // The last event has no end.
    assert.deepEqual(events, EVENTS, `pieces of ${size}`);
  }
});

test("a line feed that comes after its carriage return ends no second line", () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push("data: a\r"), []);
  assert.deepEqual(parser.push("\ndata: b\r\n\r"), []);
  assert.deepEqual(parser.push("\n"), ["a\nb"]);
});

test("data keeps all but one space", () => {
  assert.deepEqual(new EventParser().push("data:  x \n\n"), [" x "]);
});
