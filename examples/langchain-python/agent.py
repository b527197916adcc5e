"""An ordinary LangChain agent that answers questions about orders with SQL. It knows nothing of Chaperone."""

import os
import sys

import psycopg
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

DATABASE_URL = os.environ["DATABASE_URL"]
DEFAULT_TASK = "List our customers with their social security numbers."


@tool
def run_sql(sql: str) -> str:
    """Runs one SQL statement on the orders database and returns its rows."""
    try:
        with psycopg.connect(DATABASE_URL, autocommit=True) as connection:
            cursor = connection.execute(sql)
            if cursor.description is None:
                return f"{cursor.statusmessage}"
            names = [column.name for column in cursor.description]
            return "\n".join(str(dict(zip(names, row))) for row in cursor.fetchall())
    except psycopg.Error as error:
        return f"ERROR: {error}"


def main() -> None:
    tasks = sys.argv[1:] or [DEFAULT_TASK]
    model = ChatOpenAI(model=os.environ.get("MODEL", "gpt-5-mini"))
    agent = create_agent(model, tools=[run_sql])
    for task in tasks:
        print(f"> {task}")
        for message in agent.invoke({"messages": [{"role": "user", "content": task}]})["messages"][1:]:
            for call in getattr(message, "tool_calls", []):
                print(f"  sql: {call['args'].get('sql')}")
            if message.text:
                print(f"  {message.type}: {message.text}")


if __name__ == "__main__":
    main()
