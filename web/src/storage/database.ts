// SPDX-License-Identifier: Apache-2.0
// Conversations in IndexedDB. Every message is a record of its own, so tabs that write into one conversation
// do not overwrite what the other wrote.

import { checkConversation } from "../chat/file.ts";
import type { Conversation, Message, Summary } from "../chat/tree.ts";

export const NAME = "lumen";
export const VERSION = 1;

/** Another tab deleted the conversation. */
export class Deleted extends Error {}

/** Where conversations are kept. */
export interface Storage {
  /** Whether it survives the page. */
  readonly lasting: boolean;
  summaries(): Promise<Summary[]>;
  /** Null where there is none, or what is there is damaged. */
  conversation(id: string): Promise<Conversation | null>;
  create(conversation: Conversation): Promise<void>;
  /** Writes the summary and these messages; `Deleted` where the conversation is gone. */
  save(summary: Summary, messages: readonly Message[]): Promise<void>;
  /** Writes as the page goes: at once, without a word of how it ended. */
  saveLast(summary: Summary, messages: readonly Message[]): void;
  remove(id: string): Promise<void>;
}

interface Stored extends Message {
  conversation: string;
}

/** What a database of an older version lacks. */
function upgrade(database: IDBDatabase, from: number): void {
  if (from < 1) {
    database.createObjectStore("conversations", { keyPath: "id" });
    database.createObjectStore("messages", { keyPath: ["conversation", "id"] });
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function end(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

export function openDatabase(): Promise<Database> {
  return new Promise((resolve, reject) => {
    // Some browsers have no property, and some throw, where nothing may be kept.
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = (event) => upgrade(request.result, event.oldVersion);
    request.onsuccess = () => {
      // A page of a later version in another tab changes the stores.
      request.result.onversionchange = () => request.result.close();
      resolve(new Database(request.result));
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab has an older version of the page open"));
  });
}

export class Database implements Storage {
  readonly lasting = true;

  constructor(private readonly database: IDBDatabase) {}

  async summaries(): Promise<Summary[]> {
    return result(this.database.transaction("conversations").objectStore("conversations").getAll());
  }

  async conversation(id: string): Promise<Conversation | null> {
    const transaction = this.database.transaction(["conversations", "messages"]);
    const [summary, stored] = await Promise.all([
      result(transaction.objectStore("conversations").get(id)),
      result(transaction.objectStore("messages").getAll(rangeOf(id))),
    ]);
    if (summary === undefined) return null;
    return checkConversation({ ...summary, messages: stored }, "storage");
  }

  async create(conversation: Conversation): Promise<void> {
    const { messages, ...summary } = conversation;
    const transaction = this.database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").put(summary);
    this.put(transaction, conversation.id, [...messages.values()]);
    return end(transaction);
  }

  async save(summary: Summary, messages: readonly Message[]): Promise<void> {
    const transaction = this.database.transaction(["conversations", "messages"], "readwrite");
    const ended = end(transaction);
    const store = transaction.objectStore("conversations");
    let gone = false;
    store.getKey(summary.id).onsuccess = (event) => {
      gone = (event.target as IDBRequest).result === undefined;
      if (gone) return;
      store.put(summaryOf(summary));
      this.put(transaction, summary.id, messages);
    };
    await ended;
    if (gone) throw new Deleted();
  }

  saveLast(summary: Summary, messages: readonly Message[]): void {
    const transaction = this.database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").put(summaryOf(summary));
    this.put(transaction, summary.id, messages);
    // Nothing that waits for an answer is done any more.
    transaction.commit();
  }

  async remove(id: string): Promise<void> {
    const transaction = this.database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").delete(id);
    transaction.objectStore("messages").delete(rangeOf(id));
    return end(transaction);
  }

  private put(transaction: IDBTransaction, conversation: string, messages: readonly Message[]): void {
    const store = transaction.objectStore("messages");
    for (const message of messages) store.put({ ...message, conversation } satisfies Stored);
  }
}

// All keys that begin with the conversation: a list comes behind every text.
function rangeOf(conversation: string): IDBKeyRange {
  return IDBKeyRange.bound([conversation], [conversation, []]);
}

export function summaryOf({ id, title, system, head, created, updated }: Summary): Summary {
  return { id, title, system, head, created, updated };
}

/** Keeps conversations as long as the page is open, where the browser lets it keep nothing. */
export class Memory implements Storage {
  readonly lasting = false;
  private readonly all = new Map<string, Conversation>();

  async summaries(): Promise<Summary[]> {
    return [...this.all.values()].map(summaryOf);
  }

  async conversation(id: string): Promise<Conversation | null> {
    return this.all.get(id) ?? null;
  }

  async create(conversation: Conversation): Promise<void> {
    this.all.set(conversation.id, conversation);
  }

  async save(summary: Summary, messages: readonly Message[]): Promise<void> {
    const before = this.all.get(summary.id);
    if (before === undefined) throw new Deleted();
    const together = new Map(before.messages);
    for (const message of messages) together.set(message.id, message);
    this.all.set(summary.id, { ...summaryOf(summary), messages: together });
  }

  saveLast(): void {}

  async remove(id: string): Promise<void> {
    this.all.delete(id);
  }
}
