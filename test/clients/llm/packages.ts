// The SDKs of model providers that are tested, installed together once.
export const pythonSdks: readonly string[] = [
  "anthropic==2.14.0",
  "langchain==1.5.2",
  "langchain-anthropic==1.7.10",
  "langchain-tests==1.1.9",
  "google-genai==3.6.1",
  "boto3==1.44.8",
];

export const nodeSdks: readonly string[] = [
  "@anthropic-ai/sdk@1.14.0",
  "@langchain/anthropic@1.5.11",
  "langchain@1.5.14",
  "@google/genai@3.3.0",
  "zod@4.6.7",
];
