"""boto3's client of Bedrock, with placeholder keys, as its arguments tell it where."""

import base64
import json
import os

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

MODEL = "us.anthropic.claude-test-v1:0"
client = boto3.client(
    "bedrock-runtime",
    region_name="eu-central-1",
    endpoint_url=os.environ["TEST_BASE_URL"],
    aws_access_key_id="held-by-chaperone",
    aws_secret_access_key="held-by-chaperone",
    config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
)
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "look_up",
                "description": "Looks an invoice up",
                "inputSchema": {"json": {"type": "object", "properties": {"number": {"type": "integer"}}}},
            }
        }
    ]
}


def plain(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if name != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def ask(text, **more):
    return {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": text}]}], **more}


def assembled(stream):
    """What the events of each block spell, and the others as they are."""
    blocks = {}
    others = []
    for event in stream["stream"]:
        event = plain(event)
        if "contentBlockDelta" in event:
            block = blocks.setdefault(event["contentBlockDelta"]["contentBlockIndex"], {})
            for kind, delta in event["contentBlockDelta"]["delta"].items():
                for name, piece in (delta if isinstance(delta, dict) else {"": delta}).items():
                    block[kind + name] = block.get(kind + name, "") + piece
        else:
            others.append(event)
    return [blocks, others]


def failing(play):
    try:
        return play()
    except EventStreamError as error:
        return ["EventStreamError", error.response["Error"]]
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Message"]]


body = json.dumps(
    {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
)
invoke = {"modelId": MODEL, "body": body, "contentType": "application/json"}


def invoked_stream():
    text = ""
    for event in client.invoke_model_with_response_stream(**invoke)["body"]:
        inner = json.loads(event["chunk"]["bytes"])
        text += inner.get("delta", {}).get("text", "")
    return text


scenes = {
    "whole": lambda: plain(client.converse(**ask("hi"))),
    "whole_secret": lambda: plain(client.converse(**ask("secret"))),
    "tool": lambda: plain(client.converse(**ask("hi", toolConfig=TOOLS))),
    "streamed": lambda: assembled(client.converse_stream(**ask("hi"))),
    "streamed_secret": lambda: assembled(client.converse_stream(**ask("secret"))),
    "tool_streamed": lambda: assembled(client.converse_stream(**ask("hi", toolConfig=TOOLS))),
    "invoked": lambda: json.loads(client.invoke_model(**invoke)["body"].read()),
    "invoked_stream": invoked_stream,
    "overloaded": lambda: failing(lambda: client.converse(**ask("overload"))),
    "broken": lambda: failing(lambda: assembled(client.converse_stream(**ask("secret break")))),
    "denied": lambda: failing(lambda: assembled(client.converse_stream(**{**ask("hi"), "modelId": "meta.llama-forbidden"}))),
}
print(json.dumps({name: play() for name, play in scenes.items()}))
