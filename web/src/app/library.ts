// SPDX-License-Identifier: Apache-2.0
// The conversations: the list, the one that is shown, and how both stay as they are in storage and in other tabs.

import { type Conversation, type Message, pathTo, type Summary } from "../chat/tree.ts";
import { Deleted, Memory, openDatabase, type Storage, summaryOf } from "../storage/database.ts";
import { Cell } from "./cell.ts";
import type { Notices } from "./notices.ts";

interface Change {
  id: string;
  gone: boolean;
}

export class Library {
  /** Newest first. */
  readonly summaries = new Cell<readonly Summary[]>([]);
  readonly current = new Cell<Conversation | null>(null);
  private storage: Storage = new Memory();
  /** Those that were opened. */
  private readonly loaded = new Map<string, Conversation>();
  private readonly channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("lumen") : null;
  private shown: string | null = null;

  constructor(private readonly notices: Notices) {
    if (this.channel !== null) this.channel.onmessage = ({ data }) => void this.changedElsewhere(data as Change);
  }

  async start(): Promise<void> {
    try {
      this.storage = await openDatabase();
      this.setSummaries(await this.storage.summaries());
    } catch {
      this.storage = new Memory();
      this.notices.add("storage", (t) => t.notKept);
    }
    // Otherwise the browser may delete conversations when it lacks space.
    navigator.storage?.persist?.().catch(() => undefined);
  }

  get(id: string): Conversation | undefined {
    return this.loaded.get(id);
  }

  /** Shows a conversation, or none. */
  async open(id: string | null): Promise<void> {
    this.shown = id;
    if (id === null) return this.current.set(null);
    const conversation = this.loaded.get(id) ?? (await this.read(id));
    // Another one may have been chosen meanwhile.
    if (this.shown !== id) return;
    if (conversation === null) this.shown = null;
    this.current.set(conversation);
  }

  /** Takes a conversation as it is now, and writes these of its messages. */
  async put(conversation: Conversation, changed: readonly Message[]): Promise<void> {
    const fresh = !this.summaries.value.some((each) => each.id === conversation.id);
    this.take(conversation);
    this.setSummaries([
      ...this.summaries.value.filter((each) => each.id !== conversation.id),
      summaryOf(conversation),
    ]);
    try {
      if (fresh) await this.storage.create(conversation);
      else await this.storage.save(conversation, changed);
      this.tell({ id: conversation.id, gone: false });
    } catch (error) {
      if (error instanceof Deleted) {
        this.forget(conversation.id);
        this.notices.add("gone", (t) => t.goneElsewhere);
      } else this.notices.add("save", (t) => t.notSaved(isFull(error) ? t.full : String(error)));
    }
  }

  /** Writes what is new of a conversation as the page goes. */
  putLast(conversation: Conversation, changed: readonly Message[]): void {
    try {
      this.storage.saveLast(conversation, changed);
    } catch {
      // The page cannot say it any more.
    }
  }

  async remove(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      this.forget(id);
      await this.storage.remove(id).catch((error) => this.notices.add("save", (t) => t.notSaved(String(error))));
      this.tell({ id, gone: true });
    }
  }

  /** Whole conversations, for a file. */
  async all(ids: readonly string[]): Promise<Conversation[]> {
    const found = await Promise.all(ids.map(async (id) => this.loaded.get(id) ?? (await this.read(id))));
    return found.filter((conversation) => conversation !== null);
  }

  /** Adds conversations of a file. Of one that is here too, messages that are newer are taken. */
  async add(conversations: readonly Conversation[]): Promise<void> {
    for (const added of conversations) {
      const here = this.loaded.get(added.id) ?? (await this.read(added.id, true));
      if (here === null) await this.put(added, [...added.messages.values()]);
      else {
        const newer = [...added.messages.values()].filter(
          (message) => message.updated > (here.messages.get(message.id)?.updated ?? -1),
        );
        const messages = new Map([...here.messages, ...newer.map((message) => [message.id, message] as const)]);
        const summary = added.updated > here.updated ? added : here;
        await this.put({ ...summary, messages }, newer);
      }
    }
  }

  private async read(id: string, quiet = false): Promise<Conversation | null> {
    try {
      const conversation = await this.storage.conversation(id);
      if (conversation !== null) this.loaded.set(id, conversation);
      return conversation;
    } catch {
      if (!quiet) this.notices.add("damaged", (t) => t.damaged);
      return null;
    }
  }

  private take(conversation: Conversation): void {
    this.loaded.set(conversation.id, conversation);
    if (this.shown === conversation.id) this.current.set(conversation);
  }

  private forget(id: string): void {
    this.loaded.delete(id);
    this.setSummaries(this.summaries.value.filter((each) => each.id !== id));
    if (this.shown === id) void this.open(null);
  }

  private setSummaries(summaries: readonly Summary[]): void {
    this.summaries.set(summaries.toSorted((a, b) => b.updated - a.updated || (a.id < b.id ? -1 : 1)));
  }

  private tell(change: Change): void {
    this.channel?.postMessage(change);
  }

  private async changedElsewhere({ id, gone }: Change): Promise<void> {
    if (gone) return this.forget(id);
    if (!this.storage.lasting) return;
    this.setSummaries(await this.storage.summaries().catch(() => this.summaries.value));
    const here = this.loaded.get(id);
    if (here === undefined) return;
    const stored = await this.storage.conversation(id).catch(() => null);
    const now = this.loaded.get(id);
    if (stored === null || now === undefined) return;
    // What this tab writes is newer here.
    const messages = new Map(stored.messages);
    for (const message of now.messages.values()) {
      if (message.updated >= (messages.get(message.id)?.updated ?? 0)) messages.set(message.id, message);
    }
    const merged = { ...stored, messages };
    // Each tab shows the branch that was chosen in it, which may have become longer.
    const goesOn = pathTo(merged, stored.head).some((message) => message.id === now.head);
    this.take(goesOn ? merged : { ...merged, head: now.head });
  }
}

function isFull(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}
