/** `uncouple init`: a configuration file with all defaults and what they mean. */
import { writeFile } from "node:fs/promises";
import { configTemplate } from "../../config/template.js";
import { ConfigError } from "../../core/errors.js";
import { plainCommand, type Register } from "../kit/options.js";

export const register: Register = (program, { terminal }) => {
  plainCommand(program, "init", "Write a training configuration with all defaults explained.")
    .argument("[file]", "file to make; without one the text is printed")
    .action(async (file) => {
      const text = configTemplate();
      if (file === undefined) return terminal.print(text);
      await writeNew(file, `${text}\n`);
      terminal.info(`wrote ${file}; start with: uncouple train -c ${file}`);
    });
};

/** @throws ConfigError when something of that name is there, or nothing can be written there */
async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: "wx" });
  } catch (error) {
    throw new ConfigError(
      `[${file}] configuration cannot be written: got ${(error as NodeJS.ErrnoException).code}, expected a new file in a ` +
        "folder that can be written to. Choose another name.",
      { cause: error },
    );
  }
}
