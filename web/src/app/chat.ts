// SPDX-License-Identifier: Apache-2.0
// Asking for answers, and the branches that this makes.

import { type Answer, emptyAnswer, extend } from "../api/answer.ts";
import { ServerError } from "../api/server.ts";
import { identifier } from "../chat/identifier.ts";
import {
  childrenOf,
  type Conversation,
  type End,
  type Message,
  newestLeaf,
  pathTo,
  titleOf,
  withMessages,
} from "../chat/tree.ts";
import { Cell } from "./cell.ts";
import { type Connection, errorText } from "./connection.ts";
import type { Library } from "./library.ts";
import type { Preferences } from "./preferences.ts";
import { requestOf } from "./request.ts";

const SAVE_MS = 2000;

/** An answer that is being written. */
export interface Live {
  conversation: string;
  message: Message;
  answer: Answer;
  started: number;
  controller: AbortController;
  /** Changes with the answer. */
  changes: Cell<number>;
}

export class Chat {
  /** By the conversations. */
  readonly live = new Cell<ReadonlyMap<string, Live>>(new Map());
  /** What a screen reader says. */
  readonly announcement = new Cell("");

  constructor(
    private readonly library: Library,
    private readonly connection: Connection,
    private readonly preferences: Preferences,
  ) {
    // What is there of an answer when the page goes.
    addEventListener("pagehide", () => {
      for (const live of this.live.value.values()) {
        const [conversation, message] = this.withAnswer(live, "stopped") ?? [];
        if (conversation !== undefined && message !== undefined) library.putLast(conversation, [message]);
      }
    });
  }

  /** Sends a message at the end of the branch that is shown; the conversation, which may be new. */
  send(content: string): Conversation {
    const now = Date.now();
    const conversation = this.library.current.value ?? {
      id: identifier(),
      title: titleOf(content),
      system: this.preferences.settings.value.system,
      head: null,
      created: now,
      updated: now,
      messages: new Map(),
    };
    return this.ask(conversation, [userMessage(conversation.head, content)]);
  }

  /** Sends a message in place of another one, as a new branch. */
  edit(conversation: Conversation, message: Message, content: string): void {
    this.ask(conversation, [userMessage(message.parent, content)]);
  }

  /** Asks for another answer, as a new branch. */
  regenerate(conversation: Conversation, message: Message): void {
    this.generate(conversation, message.parent, []);
  }

  /** Asks again for an answer that failed, in its place. */
  retry(conversation: Conversation, message: Message): void {
    this.generate(conversation, message.parent, [], message);
  }

  /** Gives what tools gave for the calls of an answer. */
  giveResults(conversation: Conversation, message: Message, results: ReadonlyMap<string, string>): void {
    const messages: Message[] = [];
    for (const [toolCall, content] of results) {
      const parent = messages.at(-1)?.id ?? message.id;
      const given = userMessage(parent, content);
      messages.push({ ...given, role: "tool", toolCall, created: given.created + messages.length });
    }
    this.ask(conversation, messages);
  }

  stop(conversation: string): void {
    this.live.value.get(conversation)?.controller.abort();
  }

  /** Shows the branch with a message. */
  choose(conversation: Conversation, message: Message): void {
    const head = newestLeaf(childrenOf(conversation), message.id);
    void this.library.put({ ...conversation, head }, []);
  }

  private ask(conversation: Conversation, messages: readonly Message[]): Conversation {
    return this.generate(withMessages(conversation, messages), messages.at(-1)?.id ?? null, messages);
  }

  private generate(
    conversation: Conversation,
    parent: string | null,
    added: readonly Message[],
    instead?: Message,
  ): Conversation {
    // What answers a message comes after it, also within a millisecond.
    const now = Math.max(Date.now(), (conversation.messages.get(parent ?? "")?.created ?? 0) + 1);
    const message: Message = {
      id: instead?.id ?? identifier(),
      parent,
      role: "assistant",
      content: "",
      created: instead?.created ?? now,
      updated: now,
      model: this.connection.model,
      // What holds if the page goes before the first word.
      end: "stopped",
    };
    const extended = withMessages(conversation, [message]);
    const live: Live = {
      conversation: conversation.id,
      message,
      answer: emptyAnswer(),
      started: performance.now(),
      controller: new AbortController(),
      changes: new Cell(0),
    };
    this.live.set(new Map(this.live.value).set(conversation.id, live));
    void this.library.put(extended, [...added, message]);
    void this.run(live, requestOf(
      pathTo(extended, parent),
      extended.system,
      this.connection.model,
      this.preferences.settings.value,
      this.connection.props.value,
    ));
    return extended;
  }

  private async run(live: Live, request: object): Promise<void> {
    this.announcement.set(this.preferences.strings.answering);
    const timer = setInterval(() => this.save(live, "stopped"), SAVE_MS);
    let end: End;
    let error: string | undefined;
    try {
      for await (const chunk of this.connection.server.chat(request, live.controller.signal)) {
        extend(live.answer, chunk);
        // How long it thought is known once something else comes.
        const { reasoning, content, toolCalls } = live.answer;
        if (reasoning !== "" && (content !== "" || toolCalls.length > 0)) {
          live.message.reasoningMs ??= Math.round(performance.now() - live.started);
        }
        live.changes.set(live.changes.value + 1);
      }
      end = endOf(live.answer);
    } catch (reason) {
      end = live.controller.signal.aborted ? "stopped" : "error";
      if (end === "error") error = errorText(reason)(this.preferences.strings);
      if (reason instanceof ServerError && reason.kind === "key") this.connection.askKey();
    } finally {
      clearInterval(timer);
    }
    this.finish(live, end, error);
  }

  private finish(live: Live, end: End, error: string | undefined): void {
    const rest = new Map(this.live.value);
    rest.delete(live.conversation);
    this.save(live, end, error);
    this.live.set(rest);
    const t = this.preferences.strings;
    this.announcement.set(end === "error" ? `${t.failed} ${error}` : end === "stopped" ? t.stopped : t.answered);
  }

  private save(live: Live, end: End, error?: string): void {
    const [conversation, message] = this.withAnswer(live, end, error) ?? [];
    // It was deleted.
    if (conversation === undefined || message === undefined) return live.controller.abort();
    void this.library.put(conversation, [message]);
  }

  private withAnswer(live: Live, end: End, error?: string): [Conversation, Message] | null {
    const conversation = this.library.get(live.conversation);
    if (conversation === undefined) return null;
    const message = messageOf(live, end, error);
    const messages = new Map(conversation.messages).set(message.id, message);
    return [{ ...conversation, messages, updated: message.updated }, message];
  }
}

function userMessage(parent: string | null, content: string): Message {
  const now = Date.now();
  return { id: identifier(), parent, role: "user", content, created: now, updated: now };
}

function messageOf({ message, answer }: Live, end: End, error?: string): Message {
  return {
    ...message,
    content: answer.content,
    updated: Date.now(),
    end,
    ...(answer.model ? { model: answer.model } : {}),
    ...(answer.reasoning ? { reasoning: answer.reasoning } : {}),
    ...(answer.toolCalls.length > 0 ? { toolCalls: named(answer) } : {}),
    ...(Object.keys(answer.stats).length > 0 ? { stats: answer.stats } : {}),
    ...(error === undefined ? {} : { error }),
  };
}

// Results name the calls that they are for.
function named(answer: Answer): Answer["toolCalls"] {
  return answer.toolCalls.map((call, place) => ({ ...call, id: call.id || `call_${place}` }));
}

function endOf(answer: Answer): End {
  if (answer.finish === "length") return "length";
  return answer.toolCalls.length > 0 ? "tool_calls" : "stop";
}
