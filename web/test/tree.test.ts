// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  branch,
  branchPlace,
  childrenOf,
  type Conversation,
  type Message,
  newestLeaf,
  requestMessages,
  resultsOf,
  titleOf,
  withMessages,
} from "../src/chat/tree.ts";

let clock = 0;

function message(id: string, parent: string | null, role: Message["role"] = "user", rest: Partial<Message> = {}): Message {
  clock += 1;
  return { id, parent, role, content: id.toUpperCase(), created: clock, updated: clock, ...rest };
}

const EMPTY: Conversation = { id: "c", title: "", system: "", head: null, created: 0, updated: 0, messages: new Map() };

// a ─ b ─ c ─ d
//   │   └ e ─ f
//   └ g
const MESSAGES = [
  message("a", null),
  message("b", "a", "assistant"),
  message("c", "b"),
  message("d", "c", "assistant"),
  message("e", "b"),
  message("f", "e", "assistant"),
  message("g", "a", "assistant"),
];
const TREE = withMessages(EMPTY, MESSAGES);

test("the branch of the head", () => {
  assert.deepEqual(branch(TREE).map(({ id }) => id), ["a", "g"]);
  assert.deepEqual(branch({ ...TREE, head: "d" }).map(({ id }) => id), ["a", "b", "c", "d"]);
  assert.deepEqual(branch(EMPTY), []);
});

test("siblings, oldest first, and the newest message below one", () => {
  const children = childrenOf(TREE);
  const { siblings, place } = branchPlace(children, MESSAGES[4]);
  assert.deepEqual(siblings.map(({ id }) => id), ["c", "e"]);
  assert.equal(place, 1);
  assert.equal(newestLeaf(children, "b"), "f");
  assert.equal(newestLeaf(children, "c"), "d");
  assert.equal(newestLeaf(children, "a"), "g");
});

test("adding leaves the conversation before as it was", () => {
  const more = withMessages(TREE, [message("h", "g")]);
  assert.equal(more.head, "h");
  assert.equal(TREE.messages.has("h"), false);
  assert.equal(more.updated, clock);
  assert.equal(withMessages(TREE, []), TREE);
});

test("a request has the branch, and of what was thought only that of the turn that goes on", () => {
  const call = { id: "call", name: "f", arguments: "{}" };
  const path = [
    message("a", null),
    message("b", "a", "assistant", { reasoning: "old" }),
    message("c", "b"),
    message("d", "c", "assistant", { reasoning: "new", toolCalls: [call], content: "" }),
    message("t", "d", "tool", { toolCall: "call", content: "42" }),
  ];
  assert.deepEqual(requestMessages(" be brief ", path), [
    { role: "system", content: " be brief " },
    { role: "user", content: "A" },
    { role: "assistant", content: "B" },
    { role: "user", content: "C" },
    {
      role: "assistant",
      content: "",
      reasoning_content: "new",
      tool_calls: [{ id: "call", type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "call", content: "42" },
  ]);
  assert.deepEqual(requestMessages("  ", path.slice(0, 1)), [{ role: "user", content: "A" }]);
});

test("results belong to the answer before them", () => {
  const calls = [{ id: "0", name: "f", arguments: "" }];
  const path = [
    message("a", null, "assistant", { toolCalls: calls }),
    message("t", "a", "tool", { toolCall: "0", content: "first" }),
    message("b", "t", "assistant", { toolCalls: calls }),
  ];
  assert.deepEqual([...resultsOf(path, path[0])], [["0", "first"]]);
  assert.equal(resultsOf(path, path[2]).size, 0);
});

test("titles", () => {
  assert.equal(titleOf("\n  두   단어 \n다음 줄"), "두 단어");
  assert.equal(titleOf("가".repeat(60)), "가".repeat(60));
  assert.equal(titleOf("😀".repeat(61)), `${"😀".repeat(59)}…`);
});
