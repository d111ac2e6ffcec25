// SPDX-License-Identifier: Apache-2.0
// A conversation is a tree of messages. Editing a message or asking for another answer adds a sibling; the
// branch that is shown is the way from the root to the head.

import type { Stats, ToolCall } from "../api/answer.ts";

export type Role = "user" | "assistant" | "tool";

/** Why an answer ended: the server's reason, or that the reader stopped it, or a fault. */
export type End = "stop" | "length" | "tool_calls" | "stopped" | "error";

export interface Message {
  id: string;
  parent: string | null;
  role: Role;
  content: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  reasoning?: string;
  /** Milliseconds until the answer itself began. */
  reasoningMs?: number;
  toolCalls?: ToolCall[];
  /** The call that a message of a tool answers. */
  toolCall?: string;
  model?: string;
  end?: End;
  error?: string;
  stats?: Stats;
}

/** A conversation without its messages. */
export interface Summary {
  id: string;
  title: string;
  system: string;
  /** The last message of the branch that is shown. */
  head: string | null;
  created: number;
  updated: number;
}

export interface Conversation extends Summary {
  messages: ReadonlyMap<string, Message>;
}

/** The messages below each message (null: the first ones), oldest first. */
export type Children = ReadonlyMap<string | null, readonly Message[]>;

export function childrenOf(conversation: Conversation): Children {
  const children = new Map<string | null, Message[]>();
  for (const message of conversation.messages.values()) {
    const list = children.get(message.parent);
    if (list === undefined) children.set(message.parent, [message]);
    else list.push(message);
  }
  for (const list of children.values()) {
    list.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
  }
  return children;
}

/** The messages from the first one to that of this identifier. */
export function pathTo(conversation: Conversation, id: string | null): Message[] {
  const path: Message[] = [];
  let message = id === null ? undefined : conversation.messages.get(id);
  while (message !== undefined) {
    path.push(message);
    message = message.parent === null ? undefined : conversation.messages.get(message.parent);
  }
  return path.reverse();
}

/** The branch that is shown. */
export function branch(conversation: Conversation): Message[] {
  return pathTo(conversation, conversation.head);
}

/** The end of the newest branch that begins with a message. */
export function newestLeaf(children: Children, id: string): string {
  for (let leaf = id; ; ) {
    const next = children.get(leaf)?.at(-1);
    if (next === undefined) return leaf;
    leaf = next.id;
  }
}

/** The conversation with messages added or replaced; the last one becomes the head. */
export function withMessages(conversation: Conversation, messages: readonly Message[]): Conversation {
  const all = new Map(conversation.messages);
  for (const message of messages) all.set(message.id, message);
  const last = messages.at(-1);
  if (last === undefined) return conversation;
  return { ...conversation, messages: all, head: last.id, updated: Math.max(conversation.updated, last.updated) };
}

/** The first line of a text, as a title of at most 60 characters. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ").trim();
  const characters = [...line];
  return characters.length > 60 ? `${characters.slice(0, 59).join("").trimEnd()}…` : line;
}

/** What tools gave for the calls of an answer, by the identifiers of the calls. */
export function resultsOf(path: readonly Message[], answer: Message): Map<string, string> {
  const results = new Map<string, string>();
  // Those of other answers may have the same identifiers.
  for (let place = path.indexOf(answer) + 1; path[place]?.role === "tool"; place++) {
    results.set(path[place].toolCall ?? "", path[place].content);
  }
  return results;
}

/** A branch as the messages of a request. */
export function requestMessages(system: string, path: readonly Message[]): object[] {
  const lastUser = path.findLastIndex((message) => message.role === "user");
  const messages: object[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
  path.forEach((message, place) => {
    if (message.role === "user") messages.push({ role: "user", content: message.content });
    else if (message.role === "tool") {
      messages.push({ role: "tool", tool_call_id: message.toolCall, content: message.content });
    } else messages.push(requestAnswer(message, place > lastUser));
  });
  return messages;
}

// What a model thought belongs to the turn that goes on, as between calls of tools; templates drop it from others.
function requestAnswer(message: Message, current: boolean): object {
  const calls = (message.toolCalls ?? []).map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: call.arguments },
  }));
  return {
    role: "assistant",
    content: message.content,
    ...(current && message.reasoning ? { reasoning_content: message.reasoning } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** The messages beside a message and itself, and its place among them. */
export function branchPlace(children: Children, message: Message): { siblings: readonly Message[]; place: number } {
  const siblings = children.get(message.parent) ?? [];
  return { siblings, place: siblings.findIndex((each) => each.id === message.id) };
}
