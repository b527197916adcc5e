"""What OpenAI's SDK for Python, LangChain and Ollama's client raise when a policy denies or holds, with their retries as they come."""

import json
import os

import ollama
import openai
from langchain_openai import ChatOpenAI

model = os.environ["MODEL"]
client = openai.OpenAI()
calls = [
    lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}]),
    lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], stream=True),
    lambda: client.responses.create(model=model, input="hi"),
    lambda: ChatOpenAI(model=model).invoke("hi"),
]
seen = []
for call in calls:
    try:
        call()
    except openai.APIStatusError as error:
        seen.append([type(error).__name__, error.status_code, error.code, error.body["message"]])
try:
    ollama.Client(host=os.environ["HOST"]).chat(model=model, messages=[{"role": "user", "content": "hi"}])
except ollama.ResponseError as error:
    seen.append([type(error).__name__, error.status_code, None, error.error])
print(json.dumps(seen))
