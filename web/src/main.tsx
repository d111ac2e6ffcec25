// SPDX-License-Identifier: Apache-2.0

import { render } from "preact";
import { Chat } from "./app/chat.ts";
import { Connection } from "./app/connection.ts";
import { Library } from "./app/library.ts";
import { Notices } from "./app/notices.ts";
import { Preferences } from "./app/preferences.ts";
import { App } from "./ui/App.tsx";
import { PageContext } from "./ui/page.ts";
import { followAddress } from "./ui/route.ts";

async function start(): Promise<void> {
  const notices = new Notices();
  const preferences = new Preferences(notices);
  const library = new Library(notices);
  const connection = new Connection(document.baseURI, preferences, notices);
  const chat = new Chat(library, connection, preferences);
  await library.start();
  await followAddress(library);
  render(
    <PageContext.Provider value={{ notices, preferences, library, connection, chat }}>
      <App />
    </PageContext.Provider>,
    document.body,
  );
  await connection.connect();
}

void start();
