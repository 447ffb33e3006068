// The AI SDK with its provider for OpenAI-compatible servers.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { job, run } from "./steps.mjs";

const model = createOpenAICompatible({ name: "interlock", baseURL: job.url, apiKey: job.key })(job.model);

async function ask(prompt) {
  return (await generateText({ model, prompt })).text;
}

async function* stream(prompt) {
  const failures = [];
  yield* streamText({ model, prompt, onError: ({ error }) => failures.push(error) }).textStream;
  if (failures.length) throw failures[0];
}

await run(ask, stream);
