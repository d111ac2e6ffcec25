// SPDX-License-Identifier: Apache-2.0
// An answer as it grows, from the chunks of a stream in OpenAI's form.

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as the model wrote it: it may be none. */
  arguments: string;
}

/** How much of the prompt is read: counts of tokens. */
export interface Progress {
  total: number;
  cached: number;
  processed: number;
  milliseconds: number;
}

/** Counts of tokens, and times in milliseconds. */
export interface Stats {
  promptTokens?: number;
  cachedTokens?: number;
  answerTokens?: number;
  promptMs?: number;
  answerMs?: number;
  /** Tokens per second. */
  speed?: number;
}

export interface Answer {
  content: string;
  reasoning: string;
  toolCalls: ToolCall[];
  /** Why it ended, in OpenAI's words; null while it goes on. */
  finish: string | null;
  progress: Progress | null;
  stats: Stats;
  model: string;
}

export function emptyAnswer(): Answer {
  return { content: "", reasoning: "", toolCalls: [], finish: null, progress: null, stats: {}, model: "" };
}

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** Adds what a chunk says. What it says in another form is ignored. */
export function extend(answer: Answer, chunk: unknown): void {
  const { choices, model, prompt_progress, usage, timings } = fields(chunk);
  if (text(model) !== "") answer.model = text(model);
  const choice = fields(Array.isArray(choices) ? choices[0] : undefined);
  const delta = fields(choice.delta);
  answer.content += text(delta.content);
  answer.reasoning += text(delta.reasoning_content);
  if (Array.isArray(delta.tool_calls)) {
    delta.tool_calls.forEach((call, place) => extendCall(answer.toolCalls, fields(call), place));
  }
  if (text(choice.finish_reason) !== "") answer.finish = text(choice.finish_reason);
  if (prompt_progress) answer.progress = progressOf(fields(prompt_progress));
  if (usage || timings) answer.stats = { ...answer.stats, ...statsOf(fields(usage), fields(timings)) };
}

// The first piece of a call has its identifier and name; the others add to its arguments.
function extendCall(calls: ToolCall[], piece: Fields, place: number): void {
  const index = count(piece.index) ?? place;
  // A hole would be a call without a name.
  if (!Number.isInteger(index) || index > calls.length) return;
  const call = (calls[index] ??= { id: "", name: "", arguments: "" });
  const named = fields(piece.function);
  calls[index] = {
    id: call.id || text(piece.id),
    name: call.name + text(named.name),
    arguments: call.arguments + text(named.arguments),
  };
}

function progressOf(progress: Fields): Progress | null {
  const total = count(progress.total);
  if (total === undefined) return null;
  return {
    total,
    cached: count(progress.cache) ?? 0,
    processed: Math.min(total, count(progress.processed) ?? 0),
    milliseconds: count(progress.time_ms) ?? 0,
  };
}

function statsOf(usage: Fields, timings: Fields): Stats {
  const stats: Stats = {
    promptTokens: count(usage.prompt_tokens),
    cachedTokens: count(fields(usage.prompt_tokens_details).cached_tokens) ?? count(timings.cache_n),
    answerTokens: count(usage.completion_tokens) ?? count(timings.predicted_n),
    promptMs: count(timings.prompt_ms),
    answerMs: count(timings.predicted_ms),
    speed: count(timings.predicted_per_second),
  };
  // Absent ones do not hide what an earlier chunk said.
  return Object.fromEntries(Object.entries(stats).filter(([, value]) => value !== undefined));
}
