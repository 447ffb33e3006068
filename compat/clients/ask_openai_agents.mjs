// OpenAI's Agents SDK for JavaScript, over chat completions.
import { Agent, OpenAIChatCompletionsModel, run as runAgent, setTracingDisabled } from "@openai/agents";
import OpenAI from "openai";
import { job, run } from "./steps.mjs";

setTracingDisabled(true);
const client = new OpenAI({ baseURL: job.url, apiKey: job.key });
const agent = new Agent({ name: "compat", model: new OpenAIChatCompletionsModel(client, job.model) });

async function ask(prompt) {
  return (await runAgent(agent, prompt)).finalOutput;
}

async function* stream(prompt) {
  const result = await runAgent(agent, prompt, { stream: true });
  yield* result.toTextStream();
  await result.completed;
}

await run(ask, stream);
