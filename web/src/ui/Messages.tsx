// SPDX-License-Identifier: Apache-2.0

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { branch, childrenOf, type Conversation } from "../chat/tree.ts";
import { AnswerMessage } from "./AnswerMessage.tsx";
import { IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";
import { UserMessage } from "./UserMessage.tsx";

// Whoever is so near to the end, in pixels, wants to see what comes.
const NEAR = 48;

/** The branch of a conversation that is shown. */
export function Messages({ conversation }: { conversation: Conversation }) {
  const { chat } = usePage();
  const t = useStrings();
  const live = useCell(chat.live).get(conversation.id) ?? null;
  const path = useMemo(() => branch(conversation), [conversation]);
  const tree = useMemo(() => childrenOf(conversation), [conversation]);
  const scroller = useRef<HTMLDivElement>(null);
  const { follows, toEnd } = useEnd(scroller, conversation.id, live?.message.id ?? null);
  return (
    <>
      <div class="scroller" ref={scroller}>
        <div class="messages">
          {path.map((message) =>
            message.role === "user" ? (
              <UserMessage
                key={message.id}
                conversation={conversation}
                tree={tree}
                message={message}
                busy={live !== null}
              />
            ) : message.role === "assistant" ? (
              <AnswerMessage
                key={message.id}
                conversation={conversation}
                tree={tree}
                path={path}
                message={message}
                live={live?.message.id === message.id ? live : null}
                busy={live !== null}
              />
            ) : null,
          )}
        </div>
      </div>
      {!follows && (
        <div class="to-end">
          <IconButton icon="down" label={t.toEnd} onClick={toEnd} />
        </div>
      )}
    </>
  );
}

/** Keeps the end in view as long as the reader does not scroll away from it. */
function useEnd(scroller: { current: HTMLDivElement | null }, conversation: string, answer: string | null) {
  const [follows, setFollows] = useState(true);
  const following = useRef(true);
  const follow = (value: boolean) => {
    following.current = value;
    setFollows(value);
  };
  const toEnd = () => {
    const element = scroller.current;
    if (element !== null) element.scrollTop = element.scrollHeight;
    follow(true);
  };
  // A new answer is what the reader asked for.
  useEffect(() => {
    if (answer !== null) toEnd();
  }, [answer]);
  useEffect(toEnd, [conversation]);
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const onScroll = () => follow(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR);
    const onSize = new ResizeObserver(() => {
      if (following.current) element.scrollTop = element.scrollHeight;
    });
    element.addEventListener("scroll", onScroll, { passive: true });
    onSize.observe(element);
    if (element.firstElementChild !== null) onSize.observe(element.firstElementChild);
    return () => {
      element.removeEventListener("scroll", onScroll);
      onSize.disconnect();
    };
  }, []);
  return { follows, toEnd };
}
