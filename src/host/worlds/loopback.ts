/** Addresses of this machine alone. */

/** @param host name or address, without brackets and port */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
