/** In which order adapters are tried, why one was chosen, and what to say when none fits. No driver is touched here:
 *  the machine comes in as an argument. */
import { AdapterError } from "../../core/errors.js";
import { type AdapterFacts, isNamed, isSoftwareName } from "./adapters.js";

/** Names with a meaning of their own; any other name is a part of an adapter's name. */
const ADAPTER_NAMES = ["auto", "gpu", "hardware", "lavapipe", "swiftshader"] as const;

/** The apt line for Debian 12, whose own Mesa 22.3 lacks what Dawn asks for. */
export const MESA_CURE = "apt install -t bookworm-backports mesa-vulkan-drivers";

/** Complaints which only say that there is no driver. */
const NOTHING_THERE = /Found no drivers|VK_ERROR_INCOMPATIBLE_DRIVER|Couldn't load Vulkan/;

/** An adapter with the handle by which the caller opens it. */
export interface Candidate<T> {
  facts: AdapterFacts;
  handle: T;
}

/** The drivers of one machine. */
export interface Machine<T> {
  /** The best adapter of the installed drivers, GPUs first; with a name, the one whose device name contains it. */
  installed(deviceName?: string): Promise<Candidate<T> | undefined>;
  /** Device names of all adapters of the installed drivers. */
  installedNames(): Promise<string[]>;
  /** The driver that comes with the npm packages; absent where it does not run.
   *  @throws AdapterError when it is missing or damaged */
  bundled?: () => Promise<Candidate<T> | undefined>;
  /** Device name of the system's software adapter where the best adapter never is that one (Windows) */
  softwareName?: string;
  /** the user's own `VARIABLE=value` that says which drivers exist; nothing else may then be tried */
  userDrivers?: string;
  /** what drivers and Dawn complained about so far */
  messages: readonly string[];
}

/** A candidate and the sentence why it was taken. */
export interface Chosen<T> extends Candidate<T> {
  reason: string;
}

/** Picks the adapter that the user names; `auto`: GPU, then installed software driver, then the bundled one.
 *  @param wanted one of ADAPTER_NAMES or a part of an adapter's name
 *  @throws AdapterError when there is none; the message says what was tried and what to do */
export async function chooseAdapter<T>(wanted: string, machine: Machine<T>): Promise<Chosen<T>> {
  switch (wanted.trim().toLowerCase()) {
    case "auto":
    case "":
      return chooseBest(machine);
    case "gpu":
    case "hardware":
      return chooseHardware(machine);
    case "lavapipe":
      return chooseLavapipe(machine);
    case "swiftshader":
      return chooseSwiftShader(machine);
    default:
      return chooseByName(wanted.trim(), machine);
  }
}

async function chooseBest<T>(machine: Machine<T>): Promise<Chosen<T>> {
  const hardware = await findHardware(machine);
  const pinned = machine.userDrivers === undefined ? "" : ` among the drivers of ${machine.userDrivers}`;
  if (hardware) return { ...hardware, reason: `first hardware GPU${pinned}` };
  const installed =
    (await machine.installed()) ?? (machine.softwareName && (await machine.installed(machine.softwareName)));
  if (installed) {
    return { ...installed, reason: `no hardware GPU${pinned}; ${installed.facts.kind} is installed` };
  }
  const complaint = explain(machine.messages.filter((message) => !NOTHING_THERE.test(message)));
  if (machine.userDrivers !== undefined) throw noAdapter(machine, `the drivers of ${machine.userDrivers}`);
  const bundled = machine.bundled && (await machine.bundled());
  if (!bundled)
    throw noAdapter(machine, machine.bundled ? "installed drivers and SwiftShader" : "installed drivers");
  return {
    ...bundled,
    reason: `no usable driver is installed${complaint}; SwiftShader comes with the npm packages`,
  };
}

async function chooseHardware<T>(machine: Machine<T>): Promise<Chosen<T>> {
  const found = await findHardware(machine);
  if (found) return { ...found, reason: "hardware GPU, as asked" };
  throw new AdapterError(
    `[adapter] no hardware GPU found: got ${await listInstalled(machine)}, expected a GPU with a Vulkan 1.1 driver, ` +
      `Metal or D3D12${explain(machine.messages)}. Install the GPU vendor's driver, give the container access to the ` +
      `GPU, or use --adapter auto.`,
  );
}

async function chooseLavapipe<T>(machine: Machine<T>): Promise<Chosen<T>> {
  const found = await machine.installed("llvmpipe");
  if (found) return { ...found, reason: "lavapipe, as asked" };
  throw new AdapterError(
    `[adapter] lavapipe not found: got ${await listInstalled(machine)}, expected Mesa's software driver, newer than ` +
      `22.3${explain(machine.messages)}. ${cureLavapipe(machine)}`,
  );
}

async function chooseSwiftShader<T>(machine: Machine<T>): Promise<Chosen<T>> {
  const found =
    machine.userDrivers === undefined && machine.bundled
      ? await machine.bundled()
      : await machine.installed("SwiftShader");
  if (found) return { ...found, reason: "SwiftShader, as asked" };
  const cure = machine.userDrivers
    ? `Unset ${variableOf(machine.userDrivers)} to use the copy that comes with the npm packages.`
    : "It comes for linux-x64 only; use --adapter auto.";
  throw new AdapterError(
    `[adapter] SwiftShader not found: got ${await listInstalled(machine)}, expected its driver` +
      `${explain(machine.messages)}. ${cure}`,
  );
}

async function chooseByName<T>(wanted: string, machine: Machine<T>): Promise<Chosen<T>> {
  for (const deviceName of new Set(await machine.installedNames())) {
    const candidate = await machine.installed(deviceName);
    if (candidate && isNamed(candidate.facts, deviceName, wanted)) {
      return { ...candidate, reason: `its name contains "${wanted}", as asked` };
    }
  }
  throw new AdapterError(
    `[adapter] no adapter of this name: got "${wanted}", expected ${ADAPTER_NAMES.join(", ")} or a part of one of: ` +
      `${await listInstalled(machine)}${explain(machine.messages)}. Correct --adapter or UNCOUPLE_ADAPTER.`,
  );
}

/** Dawn puts virtual GPUs behind software adapters, so when the best is software the others are looked at too. */
async function findHardware<T>(machine: Machine<T>): Promise<Candidate<T> | undefined> {
  const best = await machine.installed();
  if (best === undefined || !best.facts.isSoftware) return best;
  for (const deviceName of await machine.installedNames()) {
    if (isSoftwareName(deviceName)) continue;
    const candidate = await machine.installed(deviceName);
    if (candidate && !candidate.facts.isSoftware) return candidate;
  }
  return undefined;
}

async function listInstalled<T>(machine: Machine<T>): Promise<string> {
  const names = await machine.installedNames();
  return names.length === 0 ? "no adapter at all" : names.join(", ");
}

function noAdapter<T>(machine: Machine<T>, tried: string): AdapterError {
  return new AdapterError(
    `[adapter] no usable adapter: got none from ${tried}, expected one that Dawn accepts` +
      `${explain(machine.messages)}. ${cureLavapipe(machine)}`,
  );
}

function cureLavapipe<T>(machine: Machine<T>): string {
  const old = isMesaTooOld(machine.messages) ? `This Mesa is too old; on Debian 12: ${MESA_CURE}.` : "";
  if (machine.userDrivers !== undefined) {
    return `${old} Unset ${variableOf(machine.userDrivers)} or let it name a driver that works.`.trim();
  }
  if (old !== "") return old;
  return (
    `Install the GPU vendor's Vulkan driver, or Mesa's software driver: apt install libvulkan1 mesa-vulkan-drivers ` +
    `(Debian 12: ${MESA_CURE}).`
  );
}

/** Whether Dawn refused an installed driver for a missing feature, as it does with lavapipe of Mesa 22.3. */
export function isMesaTooOld(messages: readonly string[]): boolean {
  return messages.some((message) => /ArrayDynamicIndexing/.test(message));
}

function variableOf(assignment: string): string {
  return assignment.slice(0, assignment.indexOf("="));
}

function explain(messages: readonly string[]): string {
  return messages.length === 0 ? "" : ` (${messages.join(" | ")})`;
}
