// The official client for Node.
import OpenAI from "openai";
import { job, run } from "./steps.mjs";

const client = new OpenAI({ baseURL: job.url, apiKey: job.key });

async function ask(prompt) {
  const messages = [{ role: "user", content: prompt }];
  const answer = await client.chat.completions.create({ model: job.model, messages });
  return answer.choices[0].message.content;
}

async function* stream(prompt) {
  const messages = [{ role: "user", content: prompt }];
  const chunks = await client.chat.completions.create({ model: job.model, messages, stream: true });
  for await (const chunk of chunks) yield chunk.choices[0]?.delta.content;
}

await run(ask, stream);
