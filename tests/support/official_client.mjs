// The official `openai` client for Node, driven by the Python tests (official_clients.py): one JSON job a line on
// standard input, one JSON result a line on standard output. Its twin in Python is `PythonClient`; both must do the same.
import { createInterface } from "node:readline";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const Forecast = z.object({ city: z.string(), degrees: z.int() });
const HELPER_EVENTS = ["content.delta", "content.done", "tool_calls.function.arguments.done"];

// Each gets the client, the job, and `seen`: what it puts there is told even if the job then fails.
const actions = {
  create: ({ client, job }) => client.chat.completions.create(job.request, job.options),

  async stream({ client, job, seen }) {
    for await (const chunk of await client.chat.completions.create({ ...job.request, stream: true }, job.options)) {
      seen.push(chunk);
      if (job.leave && chunk.choices[0].delta.content) break;
    }
  },

  // The very bytes, as text.
  async raw({ client, job }) {
    const response = await client.chat.completions.create({ ...job.request, stream: true }, job.options).asResponse();
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
  },

  async helper({ client, job, seen }) {
    const stream = client.chat.completions.stream(structured(job), job.options);
    for (const type of HELPER_EVENTS) stream.on(type, (event) => seen.push({ type, ...event }));
    return await stream.finalChatCompletion();
  },

  parse: ({ client, job }) => client.chat.completions.parse(structured(job), job.options),

  // The conversation to its end, the caller's functions answered from `job.answers`.
  async tools({ client, job, seen }) {
    const tools = job.request.tools.map((tool) => ({
      ...tool,
      function: {
        ...tool.function,
        parse: JSON.parse,
        function(args) {
          seen.push([tool.function.name, args]);
          return job.answers[tool.function.name];
        },
      },
    }));
    const runner = client.chat.completions.runTools({ ...job.request, stream: job.streaming, tools }, job.options);
    return await runner.finalContent();
  },

  async models({ client }) {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ids;
  },

  model: ({ client, job }) => client.models.retrieve(job.id),
};

function structured(job) {
  return job.structured ? { ...job.request, response_format: zodResponseFormat(Forecast, "Forecast") } : job.request;
}

function told(error) {
  const { status, code, param, type, message } = error;
  // Some of its errors call themselves plain `Error`; the class is what people catch.
  return {
    kind: error.constructor.name,
    status: status ?? null,
    code: code ?? null,
    param: param ?? null,
    type: type ?? null,
    message,
    retry_after: error.headers?.get("retry-after") ?? null,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  const client = new OpenAI({ baseURL: job.url, apiKey: job.key, maxRetries: job.retries ?? 0, timeout: 1000 * (job.timeout ?? 60) });
  const result = { value: null, seen: [], error: null };
  try {
    result.value = await actions[job.do]({ client, job, seen: result.seen });
  } catch (error) {
    result.error = told(error);
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
