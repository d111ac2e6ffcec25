// SPDX-License-Identifier: Apache-2.0
// What the page asks of the server that it came from.

import { EventParser } from "./sse.ts";

/** What went wrong: `status` is 0 where the server did not answer at all. */
export class ServerError extends Error {
  constructor(
    readonly kind: "unreachable" | "interrupted" | "refused" | "key" | "broken",
    message: string,
    readonly status = 0,
  ) {
    super(message);
  }
}

/** What the server says about the model. */
export interface Props {
  /** Tokens, or null where the server does not say. */
  context: number | null;
  model: string;
  /** Whether it takes messages: some models have no chat template. */
  chat: boolean;
  /** The parameters that hold where a request says nothing. */
  sampling: Record<string, number>;
  reasoning: boolean;
  tools: boolean;
}

export class Server {
  constructor(
    private readonly base: string,
    private readonly key: () => string,
  ) {}

  /** Names of the models. */
  async models(signal?: AbortSignal): Promise<string[]> {
    const list = (await this.json("v1/models", signal)) as { data?: unknown };
    if (!Array.isArray(list?.data)) throw new ServerError("broken", "v1/models");
    return list.data.map((model) => String(model?.id ?? "")).filter((id) => id !== "");
  }

  /** What is to be known of a model, which the server may load for that. */
  async props(model: string, signal?: AbortSignal): Promise<Props> {
    const query = model === "" ? "" : `?${new URLSearchParams({ model })}`;
    const props = ((await this.json(`props${query}`, signal)) ?? {}) as Record<string, unknown>;
    const sampling = Object.entries((props.sampling ?? {}) as Record<string, unknown>);
    return {
      context: typeof props.context === "number" && props.context > 0 ? props.context : null,
      model: typeof props.model === "string" ? props.model : "",
      sampling: Object.fromEntries(sampling.filter(([, value]) => typeof value === "number")) as Record<
        string,
        number
      >,
      chat: props.chat !== false,
      reasoning: props.reasoning === true,
      tools: props.tools === true,
    };
  }

  /** The chunks of an answer. Ends with an exception unless the server says that it is complete. */
  async *chat(request: object, signal: AbortSignal): AsyncGenerator<unknown> {
    const response = await this.request("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify(request),
      signal,
    });
    if (response.body === null || !/text\/event-stream/.test(response.headers.get("Content-Type") ?? "")) {
      throw new ServerError("broken", response.headers.get("Content-Type") ?? "", response.status);
    }
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          throw signal.aborted ? error : new ServerError("interrupted", String(error));
        });
        if (done) throw new ServerError("interrupted", "the stream has no end");
        for (const data of parser.push(decoder.decode(value, { stream: true }))) {
          if (data === "[DONE]") return;
          yield chunkOf(data);
        }
      }
    } finally {
      // Where the reader of the chunks ends early, so does the connection.
      reader.cancel().catch(() => undefined);
    }
  }

  private async json(path: string, signal?: AbortSignal): Promise<unknown> {
    const response = await this.request(path, { signal });
    return response.json().catch(() => {
      throw new ServerError("broken", path, response.status);
    });
  }

  private async request(path: string, options: RequestInit): Promise<Response> {
    const headers = new Headers(options.headers);
    if (this.key() !== "") headers.set("Authorization", `Bearer ${this.key()}`);
    const response = await fetch(new URL(path, this.base), { ...options, headers }).catch((error) => {
      throw options.signal?.aborted ? error : new ServerError("unreachable", String(error));
    });
    if (response.ok) return response;
    const message = errorOf(await response.json().catch(() => null)) ?? response.statusText;
    throw new ServerError(response.status === 401 ? "key" : "refused", message, response.status);
  }
}

function errorOf(body: unknown): string | null {
  const error = (body as { error?: unknown } | null)?.error;
  if (typeof error === "string") return error;
  const message = (error as { message?: unknown } | null | undefined)?.message;
  if (typeof message === "string") return message;
  return error ? JSON.stringify(error) : null;
}

function chunkOf(data: string): unknown {
  let chunk: unknown;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ServerError("broken", data.slice(0, 100));
  }
  const error = errorOf(chunk);
  if (error !== null) throw new ServerError("refused", error);
  return chunk;
}
