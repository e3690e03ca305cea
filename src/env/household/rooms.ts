/** What stands in our rooms, what lies about there, and what fits where. */

/** What an appliance does to an item; also the name of the command. */
export type Treatment = "clean" | "heat" | "cool";

export type RoomKind = "kitchen" | "living" | "bedroom" | "bath";

/** Items that are stored alike. */
type Group =
  | "dish"
  | "cutlery"
  | "pan"
  | "food"
  | "small"
  | "reading"
  | "soft"
  | "decor"
  | "hygiene"
  | "lamp";

export interface ItemKind {
  readonly group: Group;
  /** What may be done to it. */
  readonly treatments: readonly Treatment[];
}

export interface ReceptacleKind {
  readonly accepts: readonly Group[];
  /** It starts closed and shows its content only when open. */
  readonly openable?: boolean;
  /** What it does to an item in the agent's hand. */
  readonly appliance?: Treatment;
}

export interface Room {
  /** How many of each receptacle kind the room has at most. */
  readonly receptacles: Readonly<Record<string, number>>;
  readonly items: readonly string[];
}

const item = (group: Group, ...treatments: Treatment[]): ItemKind => ({ group, treatments });

export const itemKinds: Readonly<Record<string, ItemKind>> = {
  mug: item("dish", "clean", "heat", "cool"),
  cup: item("dish", "clean", "heat", "cool"),
  bowl: item("dish", "clean", "heat", "cool"),
  plate: item("dish", "clean", "heat", "cool"),
  fork: item("cutlery", "clean"),
  spoon: item("cutlery", "clean"),
  pan: item("pan", "clean", "cool"),
  apple: item("food", "clean", "heat", "cool"),
  potato: item("food", "clean", "heat", "cool"),
  tomato: item("food", "clean", "heat", "cool"),
  egg: item("food", "heat", "cool"),
  bread: item("food", "heat", "cool"),
  key: item("small"),
  watch: item("small"),
  pen: item("small"),
  phone: item("small"),
  remote: item("small"),
  book: item("reading"),
  paper: item("reading"),
  pillow: item("soft"),
  towel: item("soft"),
  cloth: item("soft", "clean"),
  vase: item("decor"),
  clock: item("decor"),
  candle: item("decor"),
  soap: item("hygiene", "clean"),
  sponge: item("hygiene", "clean"),
  lamp: item("lamp"),
};

export const receptacleKinds: Readonly<Record<string, ReceptacleKind>> = {
  counter: { accepts: ["dish", "cutlery", "pan", "food", "hygiene", "soft", "decor"] },
  table: { accepts: ["dish", "cutlery", "food", "small", "reading", "decor", "lamp"] },
  shelf: { accepts: ["dish", "small", "reading", "decor", "hygiene", "soft"] },
  cabinet: { accepts: ["dish", "pan", "hygiene", "soft", "reading"], openable: true },
  drawer: { accepts: ["cutlery", "small", "reading", "hygiene"], openable: true },
  fridge: { accepts: ["dish", "food", "pan"], openable: true, appliance: "cool" },
  microwave: { accepts: ["dish", "food"], openable: true, appliance: "heat" },
  sink: { accepts: ["dish", "cutlery", "pan", "food", "hygiene", "soft"], appliance: "clean" },
  stove: { accepts: ["pan"] },
  bin: { accepts: ["food", "reading", "hygiene"] },
  sofa: { accepts: ["soft", "small", "reading"] },
  chair: { accepts: ["soft", "small", "reading"] },
  desk: { accepts: ["small", "reading", "decor", "lamp"] },
  bed: { accepts: ["soft", "small", "reading"] },
  dresser: { accepts: ["small", "reading", "decor", "lamp", "soft"] },
  tub: { accepts: ["hygiene", "soft"] },
  rack: { accepts: ["soft", "hygiene"] },
};

export const rooms: Readonly<Record<RoomKind, Room>> = {
  kitchen: {
    receptacles: {
      counter: 2,
      table: 1,
      shelf: 2,
      cabinet: 3,
      drawer: 2,
      fridge: 1,
      microwave: 1,
      sink: 1,
      stove: 1,
      bin: 1,
    },
    items: [
      "mug",
      "cup",
      "bowl",
      "plate",
      "fork",
      "spoon",
      "pan",
      "apple",
      "potato",
      "tomato",
      "egg",
      "bread",
    ],
  },
  living: {
    receptacles: { sofa: 1, chair: 2, table: 2, desk: 1, shelf: 3, drawer: 2, cabinet: 2, bin: 1 },
    items: ["key", "watch", "pen", "remote", "book", "paper", "pillow", "vase", "clock"],
  },
  bedroom: {
    receptacles: { bed: 1, desk: 1, dresser: 1, table: 2, chair: 1, shelf: 3, drawer: 3, bin: 1 },
    items: ["key", "watch", "pen", "phone", "book", "pillow", "clock", "candle"],
  },
  bath: {
    receptacles: { sink: 2, counter: 2, tub: 1, rack: 2, shelf: 2, cabinet: 3, bin: 1 },
    items: ["soap", "sponge", "towel", "cloth", "candle"],
  },
};

/** Whether an item kind may be put into a receptacle kind. */
export function fits(itemKind: string, receptacleKind: string): boolean {
  return receptacleKinds[receptacleKind].accepts.includes(itemKinds[itemKind].group);
}
