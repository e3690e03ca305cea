/** The few calls into the C library that Node has no word for. Linux only; other platforms need none of them. */
import { fstatSync, readSync } from "node:fs";
import koffi, { type LibraryHandle } from "koffi";

type Environment = Readonly<Record<string, string>>;

const STDERR = 2;
const CLOSE_ON_EXEC = 1;

function bindCLibrary() {
  const library = koffi.load(null);
  return {
    // Node's own close() warns about descriptors that it did not open.
    close: library.func("int close(int)"),
    dup: library.func("int dup(int)"),
    dup2: library.func("int dup2(int, int)"),
    memfdCreate: library.func("int memfd_create(const char *, unsigned int)"),
    setenv: library.func("int setenv(const char *, const char *, int)"),
    unsetenv: library.func("int unsetenv(const char *)"),
  };
}

/** Koffi unloads a library when its handle is garbage collected. */
const loadedLibraries = new Map<string, LibraryHandle>();

let cLibrary: ReturnType<typeof bindCLibrary> | undefined;

/** Bound on first use. */
function useCLibrary(): ReturnType<typeof bindCLibrary> {
  cLibrary ??= bindCLibrary();
  return cLibrary;
}

/** Loads a shared library for the life of the process: a later dlopen of the same soname, by whatever library, finds it.
 *  @param name absolute path, or a soname for the system's search
 *  @throws Error when the dynamic linker refuses */
export function loadLibrary(name: string): void {
  if (!loadedLibraries.has(name)) loadedLibraries.set(name, koffi.load(name));
}

/** Runs `action` with environment variables that native libraries see (getenv), and takes them back afterwards.
 *  @param variables must be unset before
 *  @remarks not through `process.env`, which in a worker thread is a copy that native code never sees */
export function withNativeEnvironment<T>(variables: Environment, action: () => T): T {
  const names = Object.keys(variables);
  if (names.length === 0) return action();
  const { setenv, unsetenv } = useCLibrary();
  for (const name of names) setenv(name, variables[name], 1);
  try {
    return action();
  } finally {
    for (const name of names) unsetenv(name);
  }
}

/** Runs a synchronous `action` while what native code prints to stderr goes into memory.
 *  @returns the action's result and the text; a throwing action leaves stderr as it was
 *  @remarks stderr belongs to the whole process: two threads must not do this at once */
export function captureStderr<T>(action: () => T): { result: T; text: string } {
  const { close, dup, dup2, memfdCreate } = useCLibrary();
  const memory: number = memfdCreate("stderr", CLOSE_ON_EXEC);
  const saved: number = dup(STDERR);
  if (memory < 0 || saved < 0) return { result: action(), text: "" };
  dup2(memory, STDERR);
  let result: T;
  try {
    result = action();
  } finally {
    dup2(saved, STDERR);
    close(saved);
  }
  const bytes = Buffer.alloc(fstatSync(memory).size);
  readSync(memory, bytes, 0, bytes.length, 0);
  close(memory);
  return { result, text: bytes.toString("utf8") };
}
