// SPDX-License-Identifier: Apache-2.0

import type { Live } from "../app/chat.ts";
import { type Children, type Conversation, type Message, resultsOf } from "../chat/tree.ts";
import { Branches } from "./Branches.tsx";
import { CopyButton } from "./CopyButton.tsx";
import { useGrowth } from "./growth.ts";
import { IconButton } from "./icons.tsx";
import { Markdown } from "./Markdown.tsx";
import { usePage, useNumbers, useStrings } from "./page.ts";
import { Reading } from "./Reading.tsx";
import { StatsLine } from "./StatsLine.tsx";
import { ToolCalls } from "./ToolCalls.tsx";

interface Props {
  conversation: Conversation;
  tree: Children;
  path: readonly Message[];
  message: Message;
  /** The answer as it grows. */
  live: Live | null;
  busy: boolean;
}

export function AnswerMessage({ conversation, tree, path, message, live, busy }: Props) {
  const { chat } = usePage();
  const t = useStrings();
  useGrowth(live?.changes ?? null);
  const { content, reasoning = "", toolCalls = [], stats = {} } = live?.answer ?? message;
  const begun = content !== "" || reasoning !== "" || toolCalls.length > 0;
  const growing = live !== null;
  return (
    <article class="message answer" aria-label={t.assistant} aria-busy={growing}>
      <h2 class="hidden">{t.assistant}</h2>
      {live !== null && !begun && <Reading progress={live.answer.progress} />}
      {reasoning !== "" && (
        <Reasoning
          text={reasoning}
          growing={growing && content === "" && toolCalls.length === 0}
          milliseconds={live === null ? message.reasoningMs : live.message.reasoningMs}
        />
      )}
      {content !== "" && <Markdown text={content} growing={growing} />}
      <ToolCalls
        conversation={conversation}
        message={message}
        calls={toolCalls}
        results={resultsOf(path, message)}
        growing={growing}
        open={!growing && message.end === "tool_calls" && path.at(-1) === message}
      />
      {!growing && <Ending message={message} busy={busy} onRetry={() => chat.retry(conversation, message)} />}
      <div class="actions">
        <Branches conversation={conversation} tree={tree} message={message} />
        {!growing && content !== "" && <CopyButton text={content} />}
        {!growing && (
          <IconButton
            icon="again"
            label={t.regenerate}
            disabled={busy}
            onClick={() => chat.regenerate(conversation, message)}
          />
        )}
        <StatsLine stats={stats} />
      </div>
    </article>
  );
}

function Reasoning({ text, growing, milliseconds }: { text: string; growing: boolean; milliseconds?: number }) {
  const t = useStrings();
  const number = useNumbers();
  const title = growing
    ? t.reasoningNow
    : milliseconds === undefined
      ? t.reasoning
      : t.reasoningFor(number(milliseconds / 1000, 1));
  return (
    <details class="reasoning">
      <summary class={growing ? "growing" : undefined}>{title}</summary>
      <Markdown text={text} growing={growing} />
    </details>
  );
}

function Ending({ message, busy, onRetry }: { message: Message; busy: boolean; onRetry: () => void }) {
  const t = useStrings();
  if (message.end === "stopped") return <p class="note">{t.stoppedNote}</p>;
  if (message.end === "length") return <p class="note">{t.lengthNote}</p>;
  const empty = message.content === "" && (message.toolCalls ?? []).length === 0;
  if (message.end !== "error") return empty ? <p class="note">{t.emptyNote}</p> : null;
  return (
    <div class="failure">
      <p>
        <strong>{t.failed}</strong> {message.error}
      </p>
      <button type="button" class="plain" disabled={busy} onClick={onRetry}>
        {t.retry}
      </button>
    </div>
  );
}
