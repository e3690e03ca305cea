/** `uncouple init`: a configuration file with all defaults and what they mean. */
import { configTemplate } from "../../config/template.js";
import { ConfigError } from "../../core/errors.js";
import { beforeWork } from "../../host/files/before_work.js";
import { pathExists, writeFileAtomic } from "../../host/files/files.js";
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
  if (await pathExists(file)) {
    throw new ConfigError(
      `[${file}] configuration cannot be written: got EEXIST, expected a new file. Choose another name.`,
    );
  }
  await beforeWork(() => writeFileAtomic(file, text));
}
