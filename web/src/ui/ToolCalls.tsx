// SPDX-License-Identifier: Apache-2.0

import { useId, useState } from "preact/hooks";
import type { ToolCall } from "../api/answer.ts";
import type { Conversation, Message } from "../chat/tree.ts";
import { Icon } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

interface Props {
  conversation: Conversation;
  message: Message;
  calls: readonly ToolCall[];
  results: ReadonlyMap<string, string>;
  /** Whether the arguments are still being written. */
  growing: boolean;
  /** Whether results can be given: the answer is the last message. */
  open: boolean;
}

/** A card for each call, where the reader gives what the tool gave. */
export function ToolCalls({ conversation, message, calls, results, growing, open }: Props) {
  const { chat } = usePage();
  const t = useStrings();
  const [given, setGiven] = useState<ReadonlyMap<string, string>>(new Map());
  if (calls.length === 0) return null;
  const send = () => chat.giveResults(conversation, message, new Map(calls.map(({ id }) => [id, given.get(id) ?? ""])));
  return (
    <div class="tools">
      {calls.map((call, place) => (
        <Card
          key={place}
          call={call}
          growing={growing}
          result={results.get(call.id)}
          given={open ? (given.get(call.id) ?? "") : undefined}
          onInput={(text) => setGiven(new Map(given).set(call.id, text))}
        />
      ))}
      {open && (
        <div class="row">
          <button
            type="button"
            class="primary"
            disabled={calls.some(({ id }) => (given.get(id) ?? "").trim() === "")}
            onClick={send}
          >
            {t.toolSend}
          </button>
        </div>
      )}
    </div>
  );
}

interface CardProps {
  call: ToolCall;
  growing: boolean;
  result: string | undefined;
  given: string | undefined;
  onInput: (text: string) => void;
}

function Card({ call, growing, result, given, onInput }: CardProps) {
  const t = useStrings();
  const field = useId();
  const shown = indented(call.arguments);
  return (
    <section class="tool" aria-label={`${t.toolCall}: ${call.name}`}>
      <h3>
        <Icon name="tool" />
        <span>{t.toolCall}</span>
        <code>{call.name}</code>
      </h3>
      <h4>{t.toolArguments}</h4>
      <pre tabIndex={0}>
        <code>{shown ?? call.arguments}</code>
      </pre>
      {!growing && shown === null && <p class="fault">{t.badArguments}</p>}
      {result !== undefined && (
        <>
          <h4>{t.toolResult}</h4>
          <pre tabIndex={0}>
            <code>{indented(result) ?? result}</code>
          </pre>
        </>
      )}
      {result === undefined && given !== undefined && (
        <>
          <label for={field}>{t.toolResult}</label>
          <textarea
            id={field}
            rows={3}
            placeholder={t.toolResultHint}
            value={given}
            onInput={(event) => onInput(event.currentTarget.value)}
          />
        </>
      )}
    </section>
  );
}

/** JSON with a line for each field; null where the text is none. */
function indented(text: string): string | null {
  try {
    return JSON.stringify(JSON.parse(text === "" ? "{}" : text), null, 2);
  } catch {
    return null;
  }
}
