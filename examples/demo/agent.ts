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
      const answer = result.command === "SELECT" ? JSON.stringify(result.rows) : `${result.command} ${result.rowCount}`;
      say("result", answer);
      return answer;
    } catch (error) {
      const message = `ERROR: ${error instanceof Error ? error.message : String(error)}`;
      say("result", message);
      return message;
    }
  },
  { name: "run_sql", description: "Run one SQL statement on the orders database.", schema: z.object({ sql: z.string() }) },
);

const tasks = process.argv.slice(2);
for (const [index, task] of tasks.entries()) {
  // One task streams its answer and the next does not, as agents in the wild do both.
  const model = new ChatOpenAI({ model: "gpt-5-mini", streaming: index % 2 === 0, maxRetries: 0 });
  const agent = createAgent({ model, tools: [runSql], systemPrompt: "You look after invoices." });
  say("task", task);
  try {
    const result = await agent.invoke({ messages: [{ role: "user", content: task }] }, { recursionLimit: 200 });
    say("answer", String(result.messages.at(-1)?.content ?? ""));
  } catch (error) {
    say("stopped", error instanceof Error ? error.message : String(error));
    process.exitCode = 3;
    break;
  }
}
await pool.end().catch(() => undefined);

function say(what: string, text: string): void {
  process.stdout.write(`${JSON.stringify({ what, text })}\n`);
}
