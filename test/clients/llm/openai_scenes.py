"""What agents do with OpenAI's SDK for Python, LangChain and Ollama's client: each scene as its program sees it.

usage: OPENAI_BASE_URL, OPENAI_API_KEY and HOST (the same without /v1) in the environment; prints one JSON object.
"""

import asyncio
import json
import os

import ollama
import openai
from langchain.agents import create_agent
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

host, key = os.environ["HOST"], os.environ["OPENAI_API_KEY"]
client = openai.OpenAI(timeout=60)
ASK = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}
RESPOND = {"model": "gpt-test", "input": "hi"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"name": "get_weather", "parameters": WEATHER, "strict": True}


class City(BaseModel):
    name: str
    people: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}; ask jane@example.com."


def chat_streamed():
    with client.chat.completions.stream(**ASK) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        return ["".join(pieces), stream.get_final_completion().choices[0].message.content]


def chat_tools():
    ask = {"model": "gpt-test", "messages": [{"role": "user", "content": "agent: weather in 'Paris'"}]}
    tools = [{"type": "function", "function": FUNCTION}]
    with client.chat.completions.stream(**ask, tools=tools) as stream:
        for _ in stream:
            pass
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
        return [call.function.name, call.function.arguments, call.function.parsed_arguments]


def responses_streamed():
    with client.responses.stream(**RESPOND) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        return ["".join(pieces), stream.get_final_response().output_text]


def responses_tools():
    ask = {"model": "gpt-test", "input": "agent: weather in 'Paris'", "tools": [{"type": "function", **FUNCTION}]}
    with client.responses.stream(**ask) as stream:
        for _ in stream:
            pass
        call = stream.get_final_response().output[0]
        return [call.name, call.arguments]


def asynchronous():
    async def ask():
        async with openai.AsyncOpenAI(timeout=60) as many:
            answers = await asyncio.gather(*(many.chat.completions.create(**ASK) for _ in range(4)))
            stream = await many.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
            pieces, usage = [], None
            async for chunk in stream:
                pieces += [choice.delta.content or "" for choice in chunk.choices]
                usage = chunk.usage or usage
            return [[answer.choices[0].message.content for answer in answers], "".join(pieces), usage.completion_tokens]

    return asyncio.run(ask())


def failure():
    try:
        client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": "fail"}])
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body]


def agent():
    model = ChatOpenAI(model="gpt-test", timeout=60)
    answer = create_agent(model, [get_weather]).invoke({"messages": [("user", "agent: weather in 'Paris'")]})
    return [[message.type, message.text, getattr(message, "tool_calls", None) and message.tool_calls[0]["args"]] for message in answer["messages"]]


def agent_streamed(**more):
    model = ChatOpenAI(model="gpt-test", timeout=60, streaming=True, **more)
    graph = create_agent(model, [get_weather])
    pieces = {}
    for message, _ in graph.stream({"messages": [("user", "agent: weather in 'Paris'")]}, stream_mode="messages"):
        pieces[message.type] = pieces.get(message.type, "") + message.text
    return pieces


def audio():
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"mp3" * 1000))
    streamed = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.mp3", b"mp3"), stream=True)
    said = client.audio.speech.create(model="tts-1", voice="alloy", input="hi").read()
    return [heard.text, "".join(e.delta for e in streamed if e.type == "transcript.text.delta"), len(said)]


def files():
    body = {"model": "gpt-test", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    kept = client.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=kept.id, endpoint="/v1/chat/completions", completion_window="24h")
    return [kept.id, client.files.content(kept.id).text, batch.id, client.files.delete(kept.id).deleted]


def images():
    made = client.images.generate(model="gpt-image-1", prompt="for jane@example.com").data[0]
    edited = client.images.edit(model="gpt-image-1", prompt="a hat", image=("a.png", b"png", "image/png")).data[0]
    return [made.b64_json, made.revised_prompt, edited.revised_prompt]


def azure():
    ask = {"azure_endpoint": host, "api_version": "2024-10-21", "api_key": key}
    model = AzureChatOpenAI(azure_deployment="my-gpt", model="gpt-4o", **ask)
    sdk = openai.AzureOpenAI(**ask).chat.completions.create(**ASK)
    return [model.invoke("hi").content, "".join(chunk.text for chunk in model.stream("hi")), sdk.choices[0].message.content]


def ollama_client():
    own = ollama.Client(host=host, headers={"authorization": f"Bearer {key}"})
    ask = {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]}
    return [
        own.chat(**ask).message.content,
        "".join(part.message.content for part in own.chat(**ask, stream=True)),
        own.generate(model="llama3.2", prompt="hi").response,
        "".join(part.response for part in own.generate(model="llama3.2", prompt="hi", stream=True)),
        own.embed(model="llama3.2", input="hi").embeddings,
        [one.model for one in own.list().models],
    ]


scenes = {
    "chat": lambda: client.chat.completions.create(**ASK).choices[0].message.content,
    "chat-streamed": chat_streamed,
    "chat-tools": chat_tools,
    "chat-parsed": lambda: client.chat.completions.parse(
        model="gpt-test", messages=[{"role": "user", "content": "agent: 7 people"}], response_format=City
    )
    .choices[0]
    .message.parsed.model_dump(),
    "responses": lambda: client.responses.create(**RESPOND).output_text,
    "responses-streamed": responses_streamed,
    "responses-tools": responses_tools,
    "completions": lambda: client.completions.create(model="gpt-test", prompt="hi").choices[0].text,
    "completions-streamed": lambda: "".join(
        chunk.choices[0].text for chunk in client.completions.create(model="gpt-test", prompt="hi", stream=True)
    ),
    "asynchronous": asynchronous,
    "failure": failure,
    "embeddings": lambda: client.embeddings.create(model="gpt-test", input=["a", "b"]).data[1].embedding[:3],
    "moderations": lambda: client.moderations.create(input="hi").results[0].flagged,
    "models": lambda: [model.id for model in client.models.list()],
    "audio": audio,
    "files": files,
    "images": images,
    "langchain": lambda: ChatOpenAI(model="gpt-test").invoke("hi").content,
    "langchain-streamed": lambda: "".join(chunk.text for chunk in ChatOpenAI(model="gpt-test").stream("hi")),
    "langchain-embeddings": lambda: OpenAIEmbeddings(model="e", check_embedding_ctx_length=False).embed_query("hi")[:3],
    "agent": agent,
    "agent-streamed": agent_streamed,
    "agent-streamed-responses": lambda: agent_streamed(use_responses_api=True),
    "azure": azure,
    "ollama": ollama_client,
}

print(json.dumps({name: scene() for name, scene in scenes.items()}))
