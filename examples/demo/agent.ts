// An ordinary LangChain.js agent with a SQL tool. It knows nothing of Chaperone: it reads OPENAI_BASE_URL and DATABASE_URL as anywhere.
import { createAgent, tool } from "langchain";
import { ChatOpenAI } from "@langchain/openai";
import pg from "pg";
import { z } from "zod";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
pool.on("error", (error) => say("database", error.message));

const runSql = tool(
  async ({ sql }) => {
    say("sql", sql);
    try {
      const result = await pool.query(sql);
      const answer =
        result.command === "SELECT"
          ? JSON.stringify(result.rows)
          : `${result.command} ${result.rowCount}`;
      say("result", answer);
      return answer;
    } catch (error) {
      const message = `ERROR: ${error instanceof Error ? error.message : String(error)}`;
      say("result", message);
      return message;
    }
  },
  {
    name: "run_sql",
    description: "Run one SQL statement on the orders database.",
    schema: z.object({ sql: z.string() }),
  },
);

const agent = createAgent({
  model: new ChatOpenAI({ model: "gpt-5-mini", maxRetries: 0 }),
  tools: [runSql],
  systemPrompt: "You look after invoices.",
});

for (const [index, task] of process.argv.slice(2).entries()) {
  say("task", task);
  try {
    say("answer", await work(task, index % 2 === 0));
  } catch (error) {
    say("stopped", error instanceof Error ? error.message : String(error));
    process.exitCode = 3;
    break;
  }
}
await pool.end().catch(() => undefined);

/** One task streams the model's answers and the next does not, as agents in the wild do both. */
async function work(task: string, streamed: boolean): Promise<string> {
  const input = { messages: [{ role: "user" as const, content: task }] };
  const options = { recursionLimit: 500 };
  if (!streamed) return (await agent.invoke(input, options)).messages.at(-1)?.text ?? "";
  let answer = "";
  for await (const [message] of await agent.stream(input, { ...options, streamMode: "messages" })) {
    if (message.getType() === "ai") answer += message.text;
  }
  return answer;
}

function say(what: string, text: string): void {
  process.stdout.write(`${JSON.stringify({ what, text })}\n`);
}
