// A model that an agent can work with and that says the same at every run: it calls a tool that it is offered, with arguments made for its
// schema out of what it was asked, and answers in the form that is asked for.
import { textOf } from "./script.ts";
import type { ChatMessage, ScriptedToolCall, Step } from "./script.ts";

export interface Tool {
  readonly name: string;
  readonly parameters: unknown;
}

export interface AgentRequest {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly Tool[];
  /** `none`, `auto`, `required`, or the name of a tool. */
  readonly toolChoice: string;
  /** JSON is asked for, by this schema where there is one. */
  readonly format: { readonly schema: unknown } | undefined;
}

export function agentStep({ messages, tools, toolChoice, format }: AgentRequest): Step {
  const asked = textOf(messages.findLast(({ role }) => role === "user"));
  const isAnswered = messages.at(-1)?.role === "tool" && toolChoice === "auto";
  const tool = tools.find(({ name }) => name === toolChoice) ?? tools[0];
  if (tool !== undefined && toolChoice !== "none" && !isAnswered)
    return { toolCalls: [callOf(tool, asked)] };
  if (format !== undefined)
    return { text: JSON.stringify(valueFor(format.schema, "answer", asked)) };
  return { text: `You said: ${asked === "" ? "nothing" : asked}` };
}

function callOf(tool: Tool, asked: string): ScriptedToolCall {
  const made = valueFor(tool.parameters, tool.name, asked);
  return { name: tool.name, arguments: isRecord(made) ? made : {} };
}

/** A value of this JSON schema; without one, an object with the names that the request puts in quotes. */
function valueFor(schema: unknown, name: string, asked: string): unknown {
  if (!isRecord(schema)) {
    const names = [...asked.matchAll(/[`'"](\w+)[`'"]/g)].map(([, one = ""]) => one);
    return Object.fromEntries(names.map((one) => [one, `the ${one}`]));
  }
  const choices = schema["anyOf"];
  if (Array.isArray(choices)) return valueFor(choices[0], name, asked);
  if (Array.isArray(schema["enum"])) return schema["enum"][0];
  switch (schema["type"]) {
    case "integer":
    case "number":
      return Number(/\d+/.exec(asked)?.[0] ?? 1);
    case "boolean":
      return true;
    case "array":
      return [valueFor(schema["items"], name, asked)];
    case "string":
      return /'([^']+)'/.exec(asked)?.[1] ?? `the ${name}`;
    default: {
      const properties = isRecord(schema["properties"]) ? schema["properties"] : {};
      return Object.fromEntries(
        Object.entries(properties).map(([one, inner]) => [one, valueFor(inner, one, asked)]),
      );
    }
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
