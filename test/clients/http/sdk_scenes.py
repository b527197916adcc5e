"""The SDKs of OpenAI and Anthropic for Python, as their environment tells them where and with which key."""

import asyncio
import json

import anthropic
import openai

HI = [{"role": "user", "content": "hi"}]
GPT = {"model": "gpt-test", "messages": HI}
CLAUDE = {"model": "claude-test", "max_tokens": 50, "messages": HI}
LIMITS = {"max_retries": 0, "timeout": 20}


def failure(call, kind):
    try:
        call()
    except kind as error:
        return [type(error).__name__, error.status_code, str(error.body)]


def with_openai():
    client = openai.OpenAI(**LIMITS)
    chat = client.chat.completions

    async def at_once():
        async with openai.AsyncOpenAI(**LIMITS) as asynchronous:
            answers = await asyncio.gather(*(asynchronous.chat.completions.create(**GPT) for _ in range(4)))
            return [answer.choices[0].message.content for answer in answers]

    return {
        "whole": chat.create(**GPT).choices[0].message.content,
        "streamed": [chunk.choices[0].delta.content for chunk in chat.create(**GPT, stream=True) if chunk.choices],
        "at-once": asyncio.run(at_once()),
        "embedding": len(client.embeddings.create(model="gpt-test", input="hi").data[0].embedding),
        "no-such-model": failure(lambda: chat.create(**{**GPT, "model": "gpt-none"}), openai.APIStatusError),
    }


def with_anthropic():
    client = anthropic.Anthropic(**LIMITS)

    def whole():
        answer = client.messages.create(**CLAUDE)
        return [answer.content[0].text, answer.usage.output_tokens]

    def streamed():
        with client.messages.stream(**CLAUDE) as stream:
            return [list(stream.text_stream), stream.get_final_message().stop_reason]

    async def at_once():
        async with anthropic.AsyncAnthropic(**LIMITS) as asynchronous:
            answers = await asyncio.gather(*(asynchronous.messages.create(**CLAUDE) for _ in range(4)))
            return [answer.content[0].text for answer in answers]

    return {
        "whole": whole(),
        "streamed": streamed(),
        "at-once": asyncio.run(at_once()),
        "no-such-model": failure(
            lambda: client.messages.create(**{**CLAUDE, "model": "claude-none"}), anthropic.APIStatusError
        ),
    }


print(json.dumps({"openaiPython": with_openai(), "anthropicPython": with_anthropic()}))
