"""Google's SDK for Python, as its arguments tell it where and with which key."""

import asyncio
import json
import os

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

MODEL = "gemini-test"
options = types.HttpOptions(base_url=os.environ["TEST_BASE_URL"])
client = genai.Client(api_key=os.environ["TEST_API_KEY"], http_options=options)
THINK = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
scenes = {}


def scene(function):
    scenes[function.__name__] = function
    return function


def parts(response):
    return [part.model_dump(mode="json", exclude_none=True) for part in response.candidates[0].content.parts]


def joined(chunks):
    texts = {True: "", False: ""}
    others = []
    for chunk in chunks:
        for part in chunk.candidates[0].content.parts or []:
            if part.text is not None:
                texts[bool(part.thought)] += part.text
            if part.function_call:
                others.append(part.function_call.model_dump(mode="json", exclude_none=True))
        last = chunk
    return [texts[True], texts[False], others, last.candidates[0].finish_reason.value, last.usage_metadata.total_token_count]


@scene
def whole():
    response = client.models.generate_content(model=MODEL, contents="hi")
    return [response.text, response.usage_metadata.candidates_token_count, parts(response)]


@scene
def whole_secret():
    return parts(client.models.generate_content(model=MODEL, contents="secret", config=THINK))


@scene
def streamed():
    return joined(client.models.generate_content_stream(model=MODEL, contents="hi"))


@scene
def streamed_secret():
    return joined(client.models.generate_content_stream(model=MODEL, contents="secret", config=THINK))


@scene
def asynchronous():
    async def play():
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents="secret")
        return joined([chunk async for chunk in stream])

    return asyncio.run(play())


def look_up(number: int) -> str:
    """Looks an invoice up."""
    return f"invoice {number} is due"


@scene
def calls_functions_by_itself():
    config = types.GenerateContentConfig(tools=[look_up])
    response = client.models.generate_content(model=MODEL, contents="which is due?", config=config)
    history = response.automatic_function_calling_history
    return [response.text, [parts_of.model_dump(mode="json", exclude_none=True) for one in history for parts_of in one.parts]]


@scene
def function_streamed():
    config = types.GenerateContentConfig(
        tools=[look_up], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    return joined(client.models.generate_content_stream(model=MODEL, contents="secret please", config=config))


class Invoice(BaseModel):
    number: int
    customer: str


@scene
def structured():
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Invoice)
    return client.models.generate_content(model=MODEL, contents="invoice", config=config).parsed.model_dump()


@scene
def chat():
    conversation = client.chats.create(model=MODEL)
    first = joined(conversation.send_message_stream("secret"))
    return [first, conversation.send_message("hi").text, len(conversation.get_history())]


@scene
def embeddings():
    return [one.values for one in client.models.embed_content(model=MODEL, contents=["a", "b"]).embeddings]


@scene
def count_tokens():
    return client.models.count_tokens(model=MODEL, contents="hi").total_tokens


@scene
def models():
    return [model.name for model in client.models.list()]


@scene
def overloaded():
    try:
        client.models.generate_content(
            model=MODEL,
            contents="overload",
            config=types.GenerateContentConfig(
                http_options=types.HttpOptions(retry_options=types.HttpRetryOptions(attempts=1))
            ),
        )
    except errors.ClientError as error:
        return [error.code, error.status, error.message]


@scene
def denied():
    try:
        client.models.generate_content(model="gemini-forbidden", contents="hi")
    except errors.ClientError as error:
        return [error.code, error.status, error.message]
    return None


print(json.dumps({name: play() for name, play in scenes.items()}))
