/** Samples from a JSON file. */
import { z } from "zod";
import { ConfigError } from "../../core/errors.js";
import type { CouplingSample } from "../../coupling/samples.js";
import { readJsonFile } from "../../host/files/json_file.js";

// what the numbers must be is checked with the model at hand
const fileSchema = z.array(
  z.strictObject({
    tokens: z.array(z.number()),
    responseStart: z.number(),
    weights: z.array(z.number()).optional(),
    advantage: z.number().optional(),
    group: z.string().optional(),
  }),
);

/** A sample of a file; advantage and group are for scores of groups. */
export interface FileSample extends CouplingSample {
  readonly advantage?: number | undefined;
  /** Default: samples of one prompt are a group. */
  readonly group?: string | undefined;
}

/** @throws ConfigError when the file is of another form, naming the sample */
export async function readSamples(file: string): Promise<FileSample[]> {
  const parsed = fileSchema.safeParse(await readJsonFile(file));
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0] as z.core.$ZodIssue;
  const [sample, ...field] = path;
  const place =
    sample === undefined
      ? "the top"
      : `sample ${String(sample)}${field.map((one) => `, ${String(one)}`).join("")}`;
  throw new ConfigError(
    `[${file}] sample file is malformed at ${place}: ${message}. Expected an array of {"tokens": [ids], "responseStart": n, "weights": [numbers, may be left out]}; for --last-layer also "advantage": number and "group": text.`,
  );
}
