"""What boto3 and google-genai make of streams that a budget ended: every event, and how many there were."""

import json
import os
import urllib.request

import boto3
from botocore.config import Config
from google import genai
from google.genai import types

base = os.environ["TEST_BASE_URL"]


def bedrock():
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=base,
        aws_access_key_id="held-by-chaperone",
        aws_secret_access_key="held-by-chaperone",
        config=Config(retries={"total_max_attempts": 1}),
    )


def converse():
    answer = bedrock().converse_stream(
        modelId="us.anthropic.claude-test-v1:0",
        messages=[{"role": "user", "content": [{"text": "write on"}]}],
    )
    return list(answer["stream"])


def invoke():
    answer = bedrock().invoke_model_with_response_stream(
        modelId="us.anthropic.claude-test-v1:0",
        body=json.dumps(
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 150,
                "messages": [{"role": "user", "content": "write on"}],
            }
        ),
    )
    return [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]


def gemini():
    client = genai.Client(api_key="held-by-chaperone", http_options=types.HttpOptions(base_url=base))
    chunks = client.models.generate_content_stream(model="gemini-test", contents="write on")
    return [json.loads(chunk.model_dump_json(exclude_none=True)) for chunk in chunks]


def gemini_array():
    request = urllib.request.Request(
        f"{base}/v1beta/models/gemini-test:streamGenerateContent",
        data=json.dumps({"contents": [{"parts": [{"text": "write on"}]}]}).encode(),
        headers={"content-type": "application/json", "x-goog-api-key": "held-by-chaperone"},
    )
    with urllib.request.urlopen(request) as answer:
        elements = json.loads(answer.read())
    chunks = [types.GenerateContentResponse.model_validate(element) for element in elements]
    return [json.loads(chunk.model_dump_json(exclude_none=True)) for chunk in chunks]


print(json.dumps({"converse": converse, "invoke": invoke, "gemini": gemini, "array": gemini_array}[os.environ["TEST_SCENE"]]()))
