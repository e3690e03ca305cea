/** What would end a run later is said before it has a folder. */
import { readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { trainConfigSchema } from "../../src/config/schema.js";
import { ConfigError } from "../../src/core/errors.js";
import { writeModelFolder, writeModelParts } from "../../src/host/model/model_folder_write.js";
import { checkBeforeWork } from "../../src/host/run/preflight.js";
import { presetConfig } from "../../src/model/config.js";
import { elementCount, parameterShapes } from "../../src/model/parameters.js";
import { buildWordTokenizer } from "../../src/model/word_tokenizer.js";
import { temporaryFolder } from "../support/folders.js";

const household = { train: 2, in_domain: 1, out_of_domain: 0 };
const check = (settings: object, run?: string) =>
  checkBeforeWork(trainConfigSchema.parse({ world: { household }, ...settings }), run);

test("a run that can begin passes", async () => {
  await check({});
});

test.each([
  [
    { eval: { splits: ["nosuch"] } },
    /\[eval\.splits\] no such split: got "nosuch", expected one of train, in_domain/,
  ],
  [{ world: { household, train_split: "valid_seen" } }, /\[world\.train_split\] no such split/],
  [
    { world: { household, task_types: ["look_at_obj_in_light", "x"].slice(1) } },
    /no task of these types: got x/,
  ],
  [{ eval: { splits: ["out_of_domain"] } }, /no such split|no task/],
  [
    { grpo: { max_completion_length: 5000 } },
    /longer than the model reads: got at least 5001 tokens, expected at most 4096/,
  ],
  [{ model: { path: "/nowhere" } }, /\[\/nowhere\] model folder cannot be read: got ENOENT/],
  [{ world: { id: "alfworld", path: "/nowhere" } }, /no such folder: got `\/nowhere`/],
])("%j is refused as a setting", async (settings, message) => {
  await expect(check(settings)).rejects.toThrow(ConfigError);
  await expect(check(settings)).rejects.toThrow(message);
});

test("a place that cannot be written to, and a name that is taken, are said first", async () => {
  const root = temporaryFolder();
  writeFileSync(join(root, "file"), "");
  symlinkSync("two", join(root, "one"));
  symlinkSync("one", join(root, "two"));
  symlinkSync("nowhere", join(root, "dangling"));
  await mkdir(join(root, "taken"));
  writeFileSync(join(root, "taken", "thesis.txt"), "");
  const refused = async (out: string, rule: RegExp, name = "a") => {
    const failure = check({ name, out });
    await expect(failure, out).rejects.toThrow(ConfigError);
    await expect(failure).rejects.toThrow(rule);
  };
  await refused(join(root, "file"), /file\] the system refused: got ENOTDIR/);
  await refused(join(root, "file", "below", "it"), /got ENOTDIR/);
  await refused(join(root, "one"), /got ELOOP/);
  await refused(join(root, "dangling"), /got ENOENT/);
  await refused(join(root, "x".repeat(300)), /got ENAMETOOLONG/);
  if (process.platform === "linux") await refused("/proc/x", /got (ENOENT|EACCES)/);
  await refused(root, /taken\] run folder cannot be made: got a folder that is there already/, "taken");
  await check({ name: "a", out: join(root, "new", "runs") });
  expect(readdirSync(root).sort()).toEqual(["dangling", "file", "one", "taken", "two"]);
});

test("of ALFWorld, the folders are looked for that further splits are taken from", async () => {
  const path = temporaryFolder();
  for (const split of ["train", "valid_unseen"])
    await mkdir(join(path, "json_2.1.1", split), { recursive: true });
  const of = (split: string, train_split = "train") =>
    check({
      world: { id: "alfworld", path, train_split, splits: { L1: { of: split }, T: { of: "train" } } },
      eval: { splits: ["L1"] },
    });
  await of("valid_unseen");
  await of("valid_unseen", "T");
  await expect(of("valid_seen")).rejects.toThrow(/no such split: got `valid_seen`/);
});

test("programs and files of a world are looked for", async () => {
  const external = (command: string) =>
    check({ world: { id: "external", command: [command] }, model: { path: "x" } });
  await expect(external("/nowhere/program")).rejects.toThrow(/\[\/nowhere\/program\] .*got ENOENT/);
  const notExecutable = join(temporaryFolder(), "notes.txt");
  writeFileSync(notExecutable, "");
  await expect(external(notExecutable)).rejects.toThrow(/got EACCES/);
  await expect(
    check({
      world: { id: "openenv", url: "http://localhost:1", token_file: "/nowhere/token" },
      model: { path: "x" },
    }),
  ).rejects.toThrow(/\[\/nowhere\/token\] .*got ENOENT/);
  await expect(
    check({ world: { id: "scienceworld", jar: "/nowhere/a.jar" }, model: { path: "x" } }),
  ).rejects.toThrow(/no such jar/);
});

test("a model folder is opened, and what a run kept of it stands in where it is gone", async () => {
  const root = temporaryFolder();
  const tokenizer = buildWordTokenizer(["go"]);
  const config = presetConfig("nano", 20, { eos_token_id: 2 });
  const tensors = parameterShapes(config).map(({ name, shape }) => ({
    name,
    shape,
    data: new Float32Array(elementCount(shape)),
  }));
  const [path, run] = [join(root, "model"), join(root, "run")];
  await writeModelFolder(path, { config, tensors, tokenizer });
  await check({ model: { path } });
  for (const template of ["", "{% for m in messages %}{{ m['role'] }}{% endfor %}"]) {
    writeFileSync(join(path, "chat_template.jinja"), template);
    await expect(check({ model: { path } })).rejects.toThrow(
      /chat template leaves out what a user says: got "(user)?", expected a text that holds it/,
    );
    await check({ model: { path }, prompt: { format: "plain" } });
  }
  await rm(join(path, "chat_template.jinja"));
  await mkdir(run);
  await writeModelParts(join(run, "model"), { config, tokenizer });
  await rm(path, { recursive: true });
  await expect(check({ model: { path } })).rejects.toThrow("model folder cannot be read");
  await check({ model: { path } }, run);
});
