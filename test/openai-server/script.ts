// What the scripted OpenAI server says: a list of steps, the first whose `match` fits the last message answers. Plain data, so a script can be a JSON file.

export interface Match {
  /** Role of the last message; absent fits any. */
  readonly role?: "system" | "developer" | "user" | "assistant" | "tool";
  /** Found in the text of the last message, whatever the case. */
  readonly text?: string;
  readonly model?: string;
}

export interface ScriptedToolCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface Step {
  /** Absent: fits always. */
  readonly match?: Match;
  readonly text?: string;
  /** Answers as a model would that calls its tools and keeps to the form asked for (agent.ts). */
  readonly plays?: "agent";
  readonly toolCalls?: readonly ScriptedToolCall[];
  /** Answer with this error instead. */
  readonly error?: {
    readonly status: number;
    readonly message: string;
    readonly type: string;
    readonly code: string | null;
  };
  /** Wait before the first byte of the answer. */
  readonly delayMs?: number;
  /** Wait between two streamed chunks, as a model thinking would. */
  readonly gapMs?: number;
  /** Reset the connection after so many streamed chunks, as a broken upstream does. */
  readonly breakAfterChunks?: number;
}

export interface Script {
  /** Models that exist; absent: every model named by a request exists. */
  readonly models?: readonly string[];
  readonly steps: readonly Step[];
}

export interface ChatMessage {
  readonly role: string;
  readonly content?: string | readonly { readonly type: string; readonly text?: string }[] | null;
  readonly tool_calls?: readonly unknown[];
}

/** The step that answers these messages, or undefined when the script has none for them. */
export function stepFor(
  script: Script,
  model: string,
  messages: readonly ChatMessage[],
): Step | undefined {
  const last = messages.at(-1);
  return script.steps.find((step) => fits(step.match, model, last));
}

function fits(match: Match | undefined, model: string, last: ChatMessage | undefined): boolean {
  if (match === undefined) return true;
  if (match.model !== undefined && match.model !== model) return false;
  if (match.role !== undefined && match.role !== last?.role) return false;
  return match.text === undefined || textOf(last).toLowerCase().includes(match.text.toLowerCase());
}

/** The text of a message, its parts joined. */
export function textOf(message: ChatMessage | undefined): string {
  const content = message?.content;
  if (typeof content === "string") return content;
  if (content === undefined || content === null) return "";
  return content.map((part) => part.text ?? "").join("");
}
