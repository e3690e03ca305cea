/**
 * Programs of worlds end with this process, however it ends. On POSIX a shell watches: it holds a pipe from here, which the
 * system closes even after SIGKILL, and then kills the process groups it was told of. On Windows the system does the same.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { WorldError } from "../../core/errors.js";

/** Keeps a list of process groups; `add 12`, `drop 12`. At the end of its input it kills those on the list. */
const WATCHER = `
groups=" "
while read -r verb group; do
  case $verb in
    add) groups="$groups$group " ;;
    drop) groups="\${groups%% $group *} \${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
`;

/** The one watcher of this process, started with the first program. */
let watcher: ChildProcess | undefined;

function tell(text: string): void {
  if (process.platform === "win32") return;
  if (watcher === undefined || watcher.exitCode !== null || watcher.signalCode !== null) {
    // A session of its own: signals to this process's group do not reach it.
    watcher = spawn("/bin/sh", ["-c", WATCHER], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
    watcher.unref();
    unref(watcher.stdin);
  }
  watcher.stdin?.write(text);
}

/** Pipes of children are sockets, and keep the process running until told otherwise. */
function unref(stream: unknown): void {
  (stream as { unref?: () => void } | null)?.unref?.();
}

/**
 * Starts a program of a world, with pipes for input, output and errors. It runs in a process group of its own: Ctrl-C reaches
 * this process only, which ends the program in its own time. It does not keep this process running.
 * @throws WorldError when there is no such program
 */
export async function startProgram(
  command: readonly string[],
  options: SpawnOptions = {},
): Promise<ChildProcess> {
  const [program, ...args] = command;
  const isPosix = process.platform !== "win32";
  const child = spawn(program, args, { ...options, stdio: "pipe", detached: isPosix, windowsHide: true });
  try {
    await once(child, "spawn");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new WorldError(
      `[world] program does not start: got ${code} for \`${program}\`, expected an executable. Install it, or name its path.`,
      { cause },
    );
  }
  const { pid } = child;
  tell(`add ${pid}\n`);
  child.once("exit", () => tell(`drop ${pid}\n`));
  // Writing to a program that has ended is found out by reading.
  child.stdin?.on("error", () => undefined);
  child.unref();
  for (const stream of child.stdio) unref(stream);
  return child;
}

/** Ends a program and all it started; at once when it was asked to and did not within `grace` milliseconds. */
export async function endProgram(child: ChildProcess, grace: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.ref();
  child.stdin?.end();
  const timer = setTimeout(() => killGroup(child), grace);
  await exit;
  clearTimeout(timer);
}

function killGroup(child: ChildProcess): void {
  if (process.platform === "win32" || child.pid === undefined) {
    child.kill("SIGKILL");
    return;
  }
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
