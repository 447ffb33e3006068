// The frame of every client program for Node: see steps.py.
import { text } from "node:stream/consumers";

export const job = JSON.parse(await text(process.stdin));

// Asks each of the job's questions: `ask` returns a text, `stream` yields pieces of one.
export async function run(ask, stream) {
  for (const [way, prompt] of Object.entries(job.prompts)) {
    let answer;
    try {
      const pieces = [];
      if (way.endsWith("streamed")) for await (const piece of stream(prompt)) pieces.push(piece ?? "");
      else pieces.push(await ask(prompt));
      answer = { pieces };
    } catch (error) {
      answer = { error: `${error.name}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify({ way, ...answer })}\n`);
  }
}
