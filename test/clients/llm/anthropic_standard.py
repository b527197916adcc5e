"""LangChain's published standard tests on its model of Anthropic."""

from langchain_anthropic import ChatAnthropic
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestAnthropic(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatAnthropic

    @property
    def chat_model_params(self):
        return {"model": "claude-test", "max_tokens": 1000, "max_retries": 0}

    @property
    def model_override_value(self):
        return "claude-other"

    # Those with pictures and documents fetch them from the network.
    enable_vcr_tests = False
