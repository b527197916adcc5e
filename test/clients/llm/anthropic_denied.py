"""What Anthropic's SDK for Python and LangChain raise when a policy denies, with their retries as they come."""

import json

import anthropic
from langchain_anthropic import ChatAnthropic

ask = {"model": "claude-forbidden", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
seen = []
for stream in (False, True):
    try:
        anthropic.Anthropic().messages.create(**ask, stream=stream)
    except anthropic.APIStatusError as error:
        seen.append([type(error).__name__, error.status_code, error.body["error"]["type"], error.body["error"]["message"]])
try:
    ChatAnthropic(model="claude-forbidden").invoke("hi")
except anthropic.APIStatusError as error:
    seen.append([type(error).__name__, error.status_code, error.body["error"]["type"], error.body["error"]["message"]])
print(json.dumps(seen))
