// SPDX-License-Identifier: Apache-2.0

import { branchPlace, type Children, type Conversation, type Message } from "../chat/tree.ts";
import { IconButton } from "./icons.tsx";
import { usePage, useStrings } from "./page.ts";

interface Props {
  conversation: Conversation;
  tree: Children;
  message: Message;
}

/** Arrows between the siblings of a message, where it has some. */
export function Branches({ conversation, tree, message }: Props) {
  const { chat } = usePage();
  const t = useStrings();
  const { siblings, place } = branchPlace(tree, message);
  if (siblings.length < 2) return null;
  const to = (other: number) => () => chat.choose(conversation, siblings[other]);
  return (
    <span class="branches" role="group" aria-label={t.branch(place + 1, siblings.length)}>
      <IconButton icon="left" label={t.previousBranch} disabled={place === 0} onClick={to(place - 1)} />
      <span aria-hidden="true">
        {place + 1}/{siblings.length}
      </span>
      <IconButton
        icon="right"
        label={t.nextBranch}
        disabled={place === siblings.length - 1}
        onClick={to(place + 1)}
      />
    </span>
  );
}
