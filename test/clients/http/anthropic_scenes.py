"""Anthropic's SDK for Python, as its environment tells it where and with which key."""

import asyncio
import json

import anthropic

ask = {"model": "claude-test", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
client = anthropic.Anthropic(max_retries=0, timeout=20)


def whole():
    answer = client.messages.create(**ask)
    return [answer.content[0].text, answer.usage.output_tokens]


def streamed():
    with client.messages.stream(**ask) as stream:
        return [list(stream.text_stream), stream.get_final_message().stop_reason]


async def at_once():
    async with anthropic.AsyncAnthropic(max_retries=0, timeout=20) as asynchronous:
        answers = await asyncio.gather(*(asynchronous.messages.create(**ask) for _ in range(4)))
        return [answer.content[0].text for answer in answers]


def no_such_model():
    try:
        client.messages.create(**{**ask, "model": "claude-none"})
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body["error"]["type"]]


print(json.dumps({
    "whole": whole(),
    "streamed": streamed(),
    "at-once": asyncio.run(at_once()),
    "no-such-model": no_such_model(),
}))
