// SPDX-License-Identifier: Apache-2.0
// Conversations as a file. What is read from one is checked: it may come from anywhere.

import type { Stats, ToolCall } from "../api/answer.ts";
import type { Conversation, End, Message, Role } from "./tree.ts";

export const FORMAT = "lumen-conversations";
export const VERSION = 1;
/** Bytes of a file that the page reads. */
export const LARGEST = 256 * 1024 * 1024;

const ROLES: readonly string[] = ["user", "assistant", "tool"];
const ENDS: readonly string[] = ["stop", "length", "tool_calls", "stopped", "error"];

/** Says what is wrong with a file, and where. */
export class FileError extends Error {}

/** The text of a file with these conversations. */
export function write(conversations: readonly Conversation[], now: Date): string {
  const list = conversations.map((each) => ({
    ...each,
    messages: [...each.messages.values()].sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1)),
  }));
  return `${JSON.stringify({ format: FORMAT, version: VERSION, exported: now.toISOString(), conversations: list }, null, 1)}\n`;
}

/** The conversations of a file. */
export function read(text: string): Conversation[] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new FileError("not JSON");
  }
  const file = record(content, "file");
  if (file.format !== FORMAT) throw new FileError(`format: expected "${FORMAT}"`);
  if (file.version !== VERSION) throw new FileError(`version: expected ${VERSION}, got ${JSON.stringify(file.version)}`);
  const ids = new Set<string>();
  return list(file.conversations, "conversations").map((each, place) => {
    const conversation = checkConversation(each, `conversations[${place}]`);
    if (ids.has(conversation.id)) throw new FileError(`conversations[${place}].id: occurs twice`);
    ids.add(conversation.id);
    return conversation;
  });
}

/** A conversation of these fields, and no others. */
export function checkConversation(value: unknown, where: string): Conversation {
  const fields = record(value, where);
  const messages = new Map<string, Message>();
  list(fields.messages, `${where}.messages`).forEach((each, place) => {
    const message = checkMessage(each, `${where}.messages[${place}]`);
    if (messages.has(message.id)) throw new FileError(`${where}.messages[${place}].id: occurs twice`);
    messages.set(message.id, message);
  });
  const head = fields.head === null ? null : name(fields.head, `${where}.head`);
  if (head !== null && !messages.has(head)) throw new FileError(`${where}.head: no such message`);
  checkParents(messages, where);
  return {
    id: name(fields.id, `${where}.id`),
    title: string(fields.title, `${where}.title`),
    system: string(fields.system, `${where}.system`),
    head,
    created: number(fields.created, `${where}.created`),
    updated: number(fields.updated, `${where}.updated`),
    messages,
  };
}

// Every way upwards has to end at a first message.
function checkParents(messages: ReadonlyMap<string, Message>, where: string): void {
  const good = new Set<string>();
  for (const start of messages.values()) {
    const way = new Set<string>();
    for (let message = start; !good.has(message.id); ) {
      if (way.has(message.id)) throw new FileError(`${where}: messages are above themselves`);
      way.add(message.id);
      if (message.parent === null) break;
      const parent = messages.get(message.parent);
      if (parent === undefined) throw new FileError(`${where}: the parent of message ${message.id} is missing`);
      message = parent;
    }
    for (const id of way) good.add(id);
  }
}

function checkMessage(value: unknown, where: string): Message {
  const fields = record(value, where);
  const message: Message = {
    id: name(fields.id, `${where}.id`),
    parent: fields.parent === null ? null : name(fields.parent, `${where}.parent`),
    role: one(fields.role, ROLES, `${where}.role`) as Role,
    content: string(fields.content, `${where}.content`),
    created: number(fields.created, `${where}.created`),
    updated: number(fields.updated, `${where}.updated`),
  };
  for (const key of ["reasoning", "toolCall", "model", "error"] as const) {
    if (fields[key] !== undefined) message[key] = string(fields[key], `${where}.${key}`);
  }
  if (fields.reasoningMs !== undefined) message.reasoningMs = number(fields.reasoningMs, `${where}.reasoningMs`);
  if (fields.end !== undefined) message.end = one(fields.end, ENDS, `${where}.end`) as End;
  if (fields.stats !== undefined) message.stats = checkStats(fields.stats, `${where}.stats`);
  if (fields.toolCalls !== undefined) {
    message.toolCalls = list(fields.toolCalls, `${where}.toolCalls`).map((call, place) =>
      checkCall(call, `${where}.toolCalls[${place}]`),
    );
  }
  return message;
}

function checkCall(value: unknown, where: string): ToolCall {
  const fields = record(value, where);
  return {
    id: string(fields.id, `${where}.id`),
    name: string(fields.name, `${where}.name`),
    arguments: string(fields.arguments, `${where}.arguments`),
  };
}

function checkStats(value: unknown, where: string): Stats {
  const fields = record(value, where);
  const stats: Stats = {};
  for (const key of ["promptTokens", "cachedTokens", "answerTokens", "promptMs", "answerMs", "speed"] as const) {
    if (fields[key] !== undefined) stats[key] = number(fields[key], `${where}.${key}`);
  }
  return stats;
}

function record(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FileError(`${where}: expected an object`);
  }
  return value as Record<string, unknown>;
}

function list(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw new FileError(`${where}: expected a list`);
  return value;
}

function string(value: unknown, where: string): string {
  if (typeof value !== "string") throw new FileError(`${where}: expected a text`);
  return value;
}

function name(value: unknown, where: string): string {
  const text = string(value, where);
  if (!/^[\w-]{1,64}$/.test(text)) throw new FileError(`${where}: expected 1 to 64 letters and digits`);
  return text;
}

function number(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    throw new FileError(`${where}: expected a number`);
  }
  return value;
}

function one(value: unknown, of: readonly string[], where: string): string {
  const text = string(value, where);
  if (!of.includes(text)) throw new FileError(`${where}: expected ${of.join(" or ")}`);
  return text;
}
