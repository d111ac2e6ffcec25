// SPDX-License-Identifier: Apache-2.0
// What is known of the server, which may not be there yet, or ask for a key.

import { type Props, Server, ServerError } from "../api/server.ts";
import type { Strings } from "../i18n/languages.ts";
import { Cell } from "./cell.ts";
import type { Notices } from "./notices.ts";
import type { Preferences } from "./preferences.ts";

const AGAIN_MS = 2000;
const SLOW_MS = 700;

export class Connection {
  readonly server: Server;
  readonly props = new Cell<Props | null>(null);
  readonly models = new Cell<readonly string[]>([]);
  /** Whether the reader is asked for a key; "wrong" where the server refused the one that was given. */
  readonly asksKey = new Cell<"no" | "first" | "wrong">("no");
  private attempt: AbortController | null = null;

  constructor(
    base: string,
    private readonly preferences: Preferences,
    private readonly notices: Notices,
  ) {
    this.server = new Server(base, () => preferences.settings.value.key);
    let { model } = preferences.settings.value;
    preferences.settings.follow(() => {
      if (preferences.settings.value.model !== model) void this.connect();
      model = preferences.settings.value.model;
    });
  }

  async connect(): Promise<void> {
    this.attempt?.abort();
    const attempt = new AbortController();
    this.attempt = attempt;
    this.props.set(null);
    // The server may have to load the model before it can tell of it.
    const slow = setTimeout(() => this.notices.add("server", (t) => t.loading), SLOW_MS);
    let failure: unknown;
    try {
      this.models.set(await this.server.models(attempt.signal));
      this.props.set(await this.server.props(this.model, attempt.signal));
    } catch (error) {
      failure = error;
    }
    clearTimeout(slow);
    if (attempt.signal.aborted) return;
    this.notices.remove("server");
    if (failure !== undefined) this.failed(failure, attempt.signal);
    else if (this.props.value?.chat === false) this.notices.add("server", (t) => t.noChat);
  }

  /** The model that answers: what was chosen, where the server has it. */
  get model(): string {
    const { model } = this.preferences.settings.value;
    const models = this.models.value;
    return models.includes(model) ? model : (models[0] ?? this.props.value?.model ?? "");
  }

  askKey(): void {
    this.asksKey.set(this.preferences.settings.value.key === "" ? "first" : "wrong");
  }

  async giveKey(key: string, keepKey: boolean): Promise<void> {
    this.preferences.change({ key, keepKey });
    this.asksKey.set("no");
    await this.connect();
  }

  private failed(error: unknown, signal: AbortSignal): void {
    if (error instanceof ServerError && error.kind === "key") return this.askKey();
    this.notices.add("server", errorText(error));
    // A server that loads a model, or starts again, answers later.
    const later = error instanceof ServerError && (error.kind === "unreachable" || error.status === 503);
    if (!later) return;
    const timer = setTimeout(() => void this.connect(), AGAIN_MS);
    signal.addEventListener("abort", () => clearTimeout(timer));
  }
}

/** What an exception means to a reader. */
export function errorText(error: unknown): (t: Strings) => string {
  if (!(error instanceof ServerError)) return () => String(error);
  if (error.status === 503) return (t) => t.loading;
  if (error.kind === "unreachable") return (t) => t.unreachable;
  if (error.kind === "interrupted") return (t) => t.interrupted;
  if (error.kind === "broken") return (t) => t.broken;
  return (t) => t.refused(error.message);
}
