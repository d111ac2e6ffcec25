// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { FileError, read, write } from "../src/chat/file.ts";
import type { Conversation, Message } from "../src/chat/tree.ts";

const MESSAGES: Message[] = [
  { id: "a", parent: null, role: "user", content: "안녕", created: 1, updated: 1 },
  {
    id: "b",
    parent: "a",
    role: "assistant",
    content: "예",
    created: 2,
    updated: 3,
    reasoning: "음",
    reasoningMs: 5,
    toolCalls: [{ id: "x", name: "f", arguments: "{" }],
    model: "m",
    end: "tool_calls",
    stats: { promptTokens: 3, speed: 1.5 },
  },
  { id: "t", parent: "b", role: "tool", content: "1", created: 4, updated: 4, toolCall: "x" },
];
const CONVERSATION: Conversation = {
  id: "c1",
  title: "제목",
  system: "",
  head: "t",
  created: 1,
  updated: 4,
  messages: new Map(MESSAGES.map((message) => [message.id, message])),
};
const TEXT = write([CONVERSATION], new Date(0));

test("what is written is read", () => {
  assert.deepEqual(read(TEXT), [CONVERSATION]);
  assert.deepEqual(read(write([], new Date(0))), []);
});

test("fields that are not known do not come in", () => {
  const content = JSON.parse(TEXT);
  content.conversations[0].surprise = 1;
  content.conversations[0].messages[0].conversation = "other";
  content.conversations[0].messages[1].__proto__ = { role: "system" };
  assert.deepEqual(read(JSON.stringify(content)), [CONVERSATION]);
});

const FAULTS: [string, (file: any) => void, RegExp][] = [
  ["another format", (file) => (file.format = "x"), /^format: expected "lumen-conversations"$/],
  ["a later version", (file) => (file.version = 2), /^version: expected 1, got 2$/],
  ["no list", (file) => (file.conversations = {}), /^conversations: expected a list$/],
  ["twice", (file) => file.conversations.push(file.conversations[0]), /^conversations\[1\]\.id: occurs twice$/],
  ["a missing title", (file) => delete file.conversations[0].title, /\[0\]\.title: expected a text$/],
  ["a bad name", (file) => (file.conversations[0].id = "../x"), /\[0\]\.id: expected 1 to 64 letters/],
  ["a bad time", (file) => (file.conversations[0].updated = -1), /\.updated: expected a number$/],
  ["a head that is not there", (file) => (file.conversations[0].head = "z"), /\.head: no such message$/],
  ["another role", (file) => (file.conversations[0].messages[0].role = "system"), /\.role: expected user or assistant or tool$/],
  ["another end", (file) => (file.conversations[0].messages[1].end = "x"), /\.end: expected stop or /],
  ["a message that is none", (file) => (file.conversations[0].messages[0] = null), /messages\[0\]: expected an object$/],
  ["two of a name", (file) => (file.conversations[0].messages[1].id = "a"), /messages\[1\]\.id: occurs twice$/],
  ["a parent that is not there", (file) => (file.conversations[0].messages[0].parent = "z"), /the parent of message a is missing$/],
  ["a circle", (file) => (file.conversations[0].messages[0].parent = "t"), /messages are above themselves$/],
  ["a call that is none", (file) => (file.conversations[0].messages[1].toolCalls[0].name = 1), /toolCalls\[0\]\.name: expected a text$/],
  ["counts that are none", (file) => (file.conversations[0].messages[1].stats.speed = "9"), /stats\.speed: expected a number$/],
];

for (const [name, change, expected] of FAULTS) {
  test(`refused: ${name}`, () => {
    const file = JSON.parse(TEXT);
    change(file);
    assert.throws(() => read(JSON.stringify(file)), (error) => error instanceof FileError && expected.test(error.message));
  });
}

test("refused: what is not JSON", () => {
  assert.throws(() => read(TEXT.slice(0, -5)), /^(Error|FileError): not JSON$/);
  assert.throws(() => read("[]"), /file: expected an object/);
});

test("long conversations are checked in time that grows with their length", () => {
  const messages: Message[] = [];
  for (let number = 0; number < 50_000; number++) {
    const parent = number === 0 ? null : `m${number - 1}`;
    messages.push({ id: `m${number}`, parent, role: "user", content: "", created: 0, updated: 0 });
  }
  const long = { ...CONVERSATION, head: null, messages: new Map(messages.reverse().map((each) => [each.id, each])) };
  assert.equal(read(write([long], new Date(0)))[0].messages.size, 50_000);
});
