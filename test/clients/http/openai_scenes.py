"""OpenAI's SDK for Python, as its environment tells it where and with which key."""

import asyncio
import json

import openai

ask = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}
client = openai.OpenAI(max_retries=0, timeout=20)


def whole():
    return client.chat.completions.create(**ask).choices[0].message.content


def streamed():
    return [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**ask, stream=True) if chunk.choices]


async def at_once():
    async with openai.AsyncOpenAI(max_retries=0, timeout=20) as asynchronous:
        answers = await asyncio.gather(*(asynchronous.chat.completions.create(**ask) for _ in range(4)))
        return [answer.choices[0].message.content for answer in answers]


def no_such_model():
    try:
        client.chat.completions.create(**{**ask, "model": "gpt-none"})
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code]


print(json.dumps({
    "whole": whole(),
    "streamed": streamed(),
    "at-once": asyncio.run(at_once()),
    "embedding": len(client.embeddings.create(model="gpt-test", input="hi").data[0].embedding),
    "no-such-model": no_such_model(),
}))
