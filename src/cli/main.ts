/** Entry of the `uncouple` command. */
import { runCli } from "./program.js";

/** Milliseconds that native threads get to end by themselves after the command is done. */
const GRACE = 2000;

process.exitCode = await runCli(process.argv.slice(2), {
  // Opened only when a command asks for it: an unused input is left to whoever comes after.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
});
// Normally nothing is left and the process ends now; a driver's thread that lingers must not keep it.
setTimeout(() => process.exit(), GRACE).unref();
