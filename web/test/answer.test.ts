// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyAnswer, extend } from "../src/api/answer.ts";

function answerOf(...chunks: unknown[]) {
  const answer = emptyAnswer();
  for (const chunk of chunks) extend(answer, chunk);
  return answer;
}

const delta = (delta: object, finish_reason: string | null = null) => ({ choices: [{ delta, finish_reason }] });

test("pieces come together", () => {
  const answer = answerOf(
    { model: "m", ...delta({ role: "assistant", content: "" }) },
    delta({ reasoning_content: "음" }),
    delta({ reasoning_content: "…" }),
    delta({ content: "안" }),
    delta({ content: "녕" }),
    delta({}, "stop"),
  );
  assert.equal(answer.content, "안녕");
  assert.equal(answer.reasoning, "음…");
  assert.equal(answer.finish, "stop");
  assert.equal(answer.model, "m");
});

test("calls of tools, by their places", () => {
  const call = (index: number, piece: object) => delta({ tool_calls: [{ index, ...piece }] });
  const answer = answerOf(
    call(0, { id: "a", function: { name: "one", arguments: "" } }),
    call(0, { function: { arguments: '{"x":' } }),
    call(1, { id: "b", function: { name: "two", arguments: "{}" } }),
    call(0, { function: { arguments: "1}" } }),
    // A hole, and what is no place.
    call(7, { id: "c", function: { name: "three" } }),
    call(0.5, { id: "d" }),
  );
  assert.deepEqual(answer.toolCalls, [
    { id: "a", name: "one", arguments: '{"x":1}' },
    { id: "b", name: "two", arguments: "{}" },
  ]);
});

test("counts and times, of which later chunks say only some", () => {
  const answer = answerOf(
    { ...delta({}), prompt_progress: { total: 100, cache: 20, processed: 130, time_ms: 5 } },
    { ...delta({ content: "x" }), timings: { prompt_n: 80, prompt_ms: 50, predicted_n: 1, predicted_ms: 10, predicted_per_second: 100 } },
    {
      choices: [],
      usage: { prompt_tokens: 100, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 20 } },
    },
  );
  assert.deepEqual(answer.progress, { total: 100, cached: 20, processed: 100, milliseconds: 5 });
  assert.deepEqual(answer.stats, {
    promptTokens: 100,
    cachedTokens: 20,
    answerTokens: 7,
    promptMs: 50,
    answerMs: 10,
    speed: 100,
  });
});

test("what has another form is ignored", () => {
  const bad = [null, 1, "x", [], { choices: 1 }, { choices: [null] }, delta({ content: 5, tool_calls: [null, 3] })];
  const answer = answerOf(...bad, { usage: { prompt_tokens: "9" }, timings: null, prompt_progress: {} });
  assert.equal(answer.content, "");
  assert.deepEqual(answer.stats, {});
  assert.equal(answer.progress, null);
});
