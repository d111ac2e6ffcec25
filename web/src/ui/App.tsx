// SPDX-License-Identifier: Apache-2.0

import { useEffect, useState } from "preact/hooks";
import { useCell } from "../app/cell.ts";
import { Composer } from "./Composer.tsx";
import { Header } from "./Header.tsx";
import { KeyDialog } from "./KeyDialog.tsx";
import { Messages } from "./Messages.tsx";
import { NoticeList } from "./NoticeList.tsx";
import { usePage, useStrings } from "./page.ts";
import { SettingsDialog } from "./SettingsDialog.tsx";
import { Sidebar } from "./Sidebar.tsx";

const NARROW = matchMedia("(max-width: 50rem)");

export function App() {
  const { library, chat } = usePage();
  const t = useStrings();
  const conversation = useCell(library.current);
  const [sidebar, setSidebar] = useState(!NARROW.matches);
  const [settings, setSettings] = useState(false);
  useEffect(() => {
    document.title = conversation?.title ? `${conversation.title} – Lumen` : "Lumen";
  }, [conversation?.title]);
  useEffect(() => {
    const onChange = () => setSidebar(!NARROW.matches);
    const onKey = (event: KeyboardEvent) => event.key === "Escape" && NARROW.matches && setSidebar(false);
    NARROW.addEventListener("change", onChange);
    addEventListener("keydown", onKey);
    return () => {
      NARROW.removeEventListener("change", onChange);
      removeEventListener("keydown", onKey);
    };
  }, []);
  // What lies behind the list of a narrow page cannot be reached.
  const covered = sidebar && NARROW.matches;
  return (
    <div class={sidebar ? "app with-sidebar" : "app"}>
      <a
        class="skip"
        href="#message"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("message")?.focus();
        }}
      >
        {t.skip}
      </a>
      {sidebar && (
        <Sidebar onClose={() => setSidebar(false)} onChoose={() => NARROW.matches && setSidebar(false)} />
      )}
      {covered && <div class="shade" onClick={() => setSidebar(false)} />}
      <div class="main" inert={covered}>
        <Header sidebar={sidebar} onSidebar={() => setSidebar(true)} onSettings={() => setSettings(true)} />
        <NoticeList />
        <main>
          <h1 class="hidden">{conversation?.title ?? t.newConversation}</h1>
          {conversation === null ? <Welcome /> : <Messages key={conversation.id} conversation={conversation} />}
          <Composer />
        </main>
      </div>
      <p class="hidden" role="status">
        {useCell(chat.announcement)}
      </p>
      {settings && <SettingsDialog onClose={() => setSettings(false)} />}
      <KeyDialog />
    </div>
  );
}

function Welcome() {
  const t = useStrings();
  return (
    <div class="welcome">
      <p class="question">{t.welcome}</p>
      <p class="muted">{t.welcomeNote}</p>
    </div>
  );
}
