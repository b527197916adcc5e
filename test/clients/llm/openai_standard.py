"""LangChain's published standard tests for chat models and embeddings, over langchain-openai.

usage: openai_standard.py PYTEST-ARGUMENTS, with OPENAI_BASE_URL and OPENAI_API_KEY; pytest reads it as a test file.
"""

import sys

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests


# The models share one client between them, and its connections belong to one loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")


class TestChatCompletions(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {"model": "gpt-test", "stream_usage": True, "max_retries": 0, "timeout": 30}

    @property
    def supports_image_inputs(self):
        return False

    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def model_override_value(self):
        return "gpt-other"


class TestResponses(TestChatCompletions):
    @property
    def chat_model_params(self):
        return {"model": "gpt-test", "use_responses_api": True, "max_retries": 0, "timeout": 30}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self):
        # Otherwise it sends numbers of tokens, whose encoding it fetches from elsewhere.
        return {"model": "embedding-test", "check_embedding_ctx_length": False, "max_retries": 0}


if __name__ == "__main__":
    sys.exit(pytest.main([*sys.argv[1:], __file__]))
