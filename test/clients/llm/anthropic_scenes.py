"""Anthropic's SDK for Python and LangChain's model of it, as their environment tells them where and with which key."""

import asyncio
import json
import sys

import anthropic
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

client = anthropic.Anthropic(timeout=30)
MODEL = "claude-test"
THINK = {"type": "enabled", "budget_tokens": 1024}
PAY = {
    "name": "pay",
    "description": "Pays",
    "input_schema": {"type": "object", "properties": {"number": {"type": "integer"}}},
}
scenes = {}


def scene(function):
    scenes[function.__name__] = function
    return function


def ask(text, **more):
    return {"model": MODEL, "max_tokens": 2048, "messages": [{"role": "user", "content": text}], **more}


def shown(message):
    return [message.model_dump(mode="json", exclude={"id"})["content"], message.stop_reason, message.usage.output_tokens]


@scene
def whole():
    return shown(client.messages.create(**ask("hi")))


@scene
def whole_secret():
    return shown(client.messages.create(**ask("secret", thinking=THINK)))


@scene
def streamed():
    with client.messages.stream(**ask("hi")) as stream:
        return ["".join(stream.text_stream), shown(stream.get_final_message())]


@scene
def streamed_secret():
    with client.messages.stream(**ask("secret", thinking=THINK)) as stream:
        return ["".join(stream.text_stream), shown(stream.get_final_message())]


@scene
def tool_streamed():
    with client.messages.stream(**ask("secret please", tools=[PAY])) as stream:
        return shown(stream.get_final_message())


@scene
def tool_then_result():
    first = client.messages.create(**ask("pay it", tools=[PAY]))
    call = next(block for block in first.content if block.type == "tool_use")
    return shown(
        client.messages.create(
            model=MODEL,
            max_tokens=100,
            tools=[PAY],
            messages=[
                {"role": "user", "content": "pay it"},
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "paid"}]},
            ],
        )
    )


@scene
def asynchronous():
    async def play():
        async with anthropic.AsyncAnthropic(timeout=30) as other:
            async with other.messages.stream(**ask("secret")) as stream:
                return shown(await stream.get_final_message())

    return asyncio.run(play())


@scene
def beta():
    return [block.model_dump(mode="json") for block in client.beta.messages.create(**ask("hi")).content]


@scene
def count_tokens():
    return client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hi"}]).input_tokens


@scene
def models():
    return [model.id for model in client.models.list()]


@scene
def batches():
    made = client.messages.batches.create(requests=[{"custom_id": "one", "params": ask("hi")}])
    return [
        made.processing_status,
        [line.result.message.content[0].text for line in client.messages.batches.results(made.id)],
    ]


@scene
def overloaded():
    try:
        client.with_options(max_retries=0).messages.create(**ask("overload"))
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body["error"]["type"]]


@scene
def broken_stream():
    try:
        with client.messages.stream(**ask("break")) as stream:
            stream.get_final_message()
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.body["error"]["message"]]


@tool
def look_up(number: int) -> str:
    """Looks an invoice up."""
    return f"invoice {number} is due"


@scene
def langchain_streams():
    model = ChatAnthropic(model=MODEL, max_tokens=2048, thinking=THINK)
    whole = None
    for chunk in model.stream("secret"):
        whole = chunk if whole is None else whole + chunk
    return [whole.content, whole.usage_metadata["output_tokens"], whole.response_metadata.get("stop_reason")]


@scene
def langchain_agent():
    agent = create_agent(ChatAnthropic(model=MODEL), [look_up], system_prompt="You look invoices up.")
    steps = []
    for token, _ in agent.stream({"messages": "which is due?"}, stream_mode="messages"):
        steps.append([type(token).__name__, token.content if isinstance(token.content, str) else token.text])
    messages = agent.invoke({"messages": "which is due?"})["messages"]
    return ["".join(text for _, text in steps), [message.text for message in messages], messages[1].tool_calls[0]["args"]]


print(json.dumps({name: scenes[name]() for name in sys.argv[1:] or scenes}))
