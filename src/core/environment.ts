/** Environment variables as the command line got them. */
export type Environment = Readonly<Record<string, string | undefined>>;
