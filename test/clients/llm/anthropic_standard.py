"""LangChain's published standard tests on its model of Anthropic.

usage: anthropic_standard.py PYTEST-ARGUMENTS, with ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY; pytest reads it as a test file.
"""

import sys

import pytest
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


if __name__ == "__main__":
    sys.exit(pytest.main([*sys.argv[1:], __file__]))
