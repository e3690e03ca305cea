/** Opens a page in the system's browser. */
import { spawn } from "node:child_process";

export interface BrowserOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** As Node names it; default: this machine's. */
  readonly platform?: NodeJS.Platform;
  /** Told why no browser was opened. The page is there all the same. */
  readonly onFailure: (reason: string) => void;
}

/** @param url starts with `http`: what is opened can be nothing but a page */
export function openBrowser(
  url: string,
  { env, platform = process.platform, onFailure }: BrowserOptions,
): void {
  if (platform === "linux" && !env.DISPLAY && !env.WAYLAND_DISPLAY && !env.BROWSER) {
    onFailure("this session has no display");
    return;
  }
  const [command, ...args] = commandOf(url, platform);
  const child = spawn(command, args, { stdio: "ignore", detached: true, env: env as NodeJS.ProcessEnv });
  child.once("error", (error) => onFailure(error.message));
  child.once("exit", (code) => {
    if (code !== 0 && code !== null) onFailure(`${command} ended with ${code}`);
  });
  // a browser that stays open must not keep this process
  child.unref();
}

function commandOf(url: string, platform: NodeJS.Platform): string[] {
  if (platform === "darwin") return ["open", url];
  // its shell takes & for the end of a command
  if (platform === "win32") return ["cmd", "/c", "start", "", url.replaceAll("&", "^&")];
  return ["xdg-open", url];
}
