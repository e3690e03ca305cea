/** The engine's rules on a small hand-written game: what is admissible, how things are called, what texts say. */
import { expect, test } from "vitest";
import { AlfworldGame } from "../../src/env/alfworld/game.js";
import { smallDomain, smallGameText, smallGrammar, smallProblem } from "../support/alfworld_small_game.js";

function start(changes: Record<string, unknown> = {}) {
  return AlfworldGame.parse(smallGameText(changes), { file: "small" }).start();
}

function after(...commands: string[]) {
  const play = start();
  const texts = commands.map((command) => play.step(command));
  return { play, text: texts.at(-1) };
}

function factTexts(play: ReturnType<typeof start>): string[] {
  return play.facts().map(({ predicate, args }) => `${predicate}(${args.join(",")})`);
}

test("names count down in id order, a basin is no sink, ids without a number end in a space", () => {
  const { names } = AlfworldGame.parse(smallGameText(), { file: "small" });
  expect(Object.fromEntries(names.byId)).toEqual({
    box_bar_1: "box 1",
    boxtype: "boxtype ",
    cup_bar_1: "cup 2",
    cup_bar_2: "cup 1",
    hall_bar_0: "hall 1",
    lamp_bar_1: "lamp 1",
    me: "me ",
    shelf_bar_1: "shelf 2",
    shelf_bar_2: "shelf 1",
    shelftype: "shelftype ",
    sink_bar_basin_1: "sinkbasin 1",
    spot_bar_1: "spot 2",
    spot_bar_2: "spot 1",
  });
  expect(names.idOf("cup 2")).toBe("cup_bar_1");
  expect(names.idOf("cup 3")).toBeUndefined();
});

test("the first text lists receptacles in id order with both separators, also between two", () => {
  expect(start().intro()).toBe(
    "Evening.\n\nYou see box 1; shelf 2; and shelf 1.\nYour task is to: put two cup in box.",
  );
  expect(after("go to shelf 1", "look").text).toBe("Before you: shelf 2; and shelf 1. Beside: nothing.");
});

test("admissible commands are sorted, without repeats and without actions that cannot change anything", () => {
  // `wait` asserts what its precondition demands and takes away what it gives: of its effects only (seen ?l) is left.
  expect(start().admissibleCommands).toEqual([
    "bag",
    "flip lamp 1",
    "go to box 1",
    "go to shelf 1",
    "go to shelf 2",
    "look",
    "wait",
  ]);
  const nothingLeft = smallDomain.replace("(not (seen ?l)) (seen ?l)", "");
  expect(start({ pddl_domain: nothingLeft }).admissibleCommands).not.toContain("wait");
});

test("one cannot go where one is, nor to another receptacle of the same spot", () => {
  const { play } = after("go to shelf 1");
  expect(play.admissibleCommands.filter((command) => command.startsWith("go"))).toEqual(["go to box 1"]);
});

test("a type with a comma has no objects, so only the thing in hand can be examined", () => {
  const { play } = after("go to shelf 1");
  expect(play.admissibleCommands).toContain("take cup 2 from shelf 2");
  expect(play.admissibleCommands).not.toContain("examine cup 2");
  play.step("take cup 2 from shelf 2");
  expect(play.admissibleCommands).toContain("examine cup 2");
  const fixed = start({ pddl_domain: smallDomain.replace("location, ?r", "location ?r") });
  fixed.step("go to shelf 1");
  expect(fixed.admissibleCommands).toContain("examine cup 2");
});

test("forall over an empty state holds, and stops holding with the first exception", () => {
  const two = smallProblem.replace(
    "(openable Box_bar_1)",
    "(openable Box_bar_1) (openable Shelf_bar_1) (openable Shelf_bar_2)",
  );
  const play = start({ pddl_problem: two });
  play.step("go to shelf 1");
  expect(play.admissibleCommands).toEqual(expect.arrayContaining(["open shelf 1", "open shelf 2"]));
  play.step("open shelf 1");
  expect(play.admissibleCommands).not.toContain("open shelf 2");
  expect(play.admissibleCommands).toContain("close shelf 1");
});

test("commands are exact but for white space around them", () => {
  const play = start();
  for (const bad of [
    "",
    " ",
    "Look",
    "look.",
    "look around",
    "go  to box 1",
    "open box 1",
    "GO TO BOX 1",
    "\uFEFFlook",
  ]) {
    expect(play.step(bad)).toBe("Nothing happens.");
  }
  expect(play.step(" look\t\n")).toBe("You see nothing.");
  expect(play.step("\u001clook\u0085\u00a0")).toBe("You see nothing.");
});

test("look at a spot without receptacles sees nothing, since it knows where it is; the first text does not", () => {
  expect(after("look").text).toBe("You see nothing.");
});

test("rule alternatives follow the state, and an rhs loses one line break at its start", () => {
  expect(after("go to box 1").text).toBe("You are at box 1. It is shut.");
  expect(after("go to box 1", "open box 1").text).toBe("Opened. Inside: the cup 1.");
  expect(after("go to shelf 2").text).toBe("You are at shelf 2. On it: a cup 2.");
  expect(after("go to shelf 1", "examine shelf 1").text).toBe("On it: nothing.");
});

test("lists of none, one and two", () => {
  expect(after("bag").text).toBe("You hold nothing.");
  expect(after("go to shelf 1", "take cup 2 from shelf 2", "bag").text).toBe("You hold cup 2.");
  const { text } = after(
    "go to shelf 1",
    "take cup 2 from shelf 2",
    "go to box 1",
    "open box 1",
    "drop cup 2 in box 1",
    "examine box 1",
  );
  expect(text).toBe("Inside: the cup 2; and the cup 1.");
});

test("what was put elsewhere at the same spot is also listed beside", () => {
  const commands = ["go to shelf 1", "take cup 2 from shelf 2", "drop cup 2 in shelf 1", "look"];
  expect(after(...commands).text).toBe("Before you: shelf 2; and shelf 1. Beside: the cup 2.");
});

test("different placeholders never take the same object", () => {
  const domain = smallDomain.replace(
    "(:action look",
    "(:action love :parameters (?a - agent) :effect (likes ?a ?a)) (:action look",
  );
  const grammar = `${smallGrammar}
action love { template :: "love"; feedback :: "[{b | likes(a:agent, b:agent)}] [{a | likes(a:agent, a:agent)}]"; }`;
  expect(start({ pddl_domain: domain, grammar }).step("love")).toBe("nothing me ");
});

test("the fact view writes conditional effects down regardless, the delete last; the truth obeys them", () => {
  const play = start();
  expect(play.step("flip lamp 1")).toBe("object lamp_bar_1: written off");
  expect(factTexts(play)).toContain("not_ison(lamp_bar_1)");
  expect(factTexts(play)).toContain("istoggled(lamp_bar_1)");
  expect(factTexts(play)).not.toContain("ison(lamp_bar_1)");
  const lit = start({ pddl_problem: smallProblem.replace(/\(:goal[\s\S]*/, "(:goal (isOn Lamp_bar_1)))") });
  expect([lit.step("flip lamp 1"), lit.won]).toEqual(["object lamp_bar_1: written off", true]);
  lit.step("flip lamp 1");
  expect(lit.won).toBe(false);
});

test("the fact view has a negation only for what was taken away and could have been true", () => {
  const { play } = after("go to shelf 1", "take cup 2 from shelf 2", "wash cup 2");
  const facts = factTexts(play);
  expect(facts).toEqual(
    expect.arrayContaining([
      "not_in(cup_bar_1,shelf_bar_1)",
      "not_atlocation(me,hall_bar_0)",
      "isclean(cup_bar_1)",
    ]),
  );
  expect(facts.filter((fact) => fact.startsWith("not_isdirty"))).toEqual([]);
  expect(facts.filter((fact) => fact.startsWith("not_holds"))).toEqual([]);
});

test("the walkthrough wins, the score holds while the goal does, and play goes on", () => {
  const game = AlfworldGame.parse(smallGameText(), { file: "small" });
  const play = game.start();
  expect(game.walkthrough?.map((command) => [play.step(command), play.won][1])).toEqual([
    false,
    false,
    false,
    false,
    false,
    true,
  ]);
  expect([play.step("nonsense"), play.won]).toEqual(["Nothing happens.", true]);
  expect([play.step("open box 1"), play.won]).toEqual(["Opened. Inside: the cup 2; and the cup 1.", false]);
});

test("a newer domain and grammar keep the file's task", () => {
  const grammar = smallGrammar
    .replace("put two cup in box.", "UNKNOWN GOAL.")
    .replace('"take {o}', '"grab {o}');
  const domain = smallDomain.replace("(forall (?x - receptacle) (not (opened ?x)))", "");
  const game = AlfworldGame.parse(smallGameText({ pddl_domain: "broken" }), {
    file: "small",
    domain,
    grammar,
  });
  expect(game.task).toBe("put two cup in box.");
  const play = game.start();
  expect(play.intro()).toContain("Your task is to: put two cup in box.");
  play.step("go to shelf 1");
  expect(play.admissibleCommands).toContain("grab cup 2 from shelf 2");
});

test("a command text may depend on the state", () => {
  const grammar = smallGrammar
    .replace('"bag";', '"bag#full#";')
    .replace(
      '"list_empty"',
      '"full": [{"condition": "holdsany(a:agent)", "rhs": "(full)"}, {"rhs": ""}], "list_empty"',
    );
  const play = start({ grammar });
  expect(play.admissibleCommands).toContain("bag");
  play.step("go to shelf 1");
  play.step("take cup 2 from shelf 2");
  expect(play.admissibleCommands).toContain("bag(full)");
  expect(play.step("bag(full)")).toBe("You hold cup 2.");
});

test("commandText turns any action into its command", () => {
  const game = AlfworldGame.parse(smallGameText(), { file: "small" });
  expect(game.commandText("walk", ["me", "hall_bar_0", "spot_bar_2", "box_bar_1"])).toBe("go to box 1");
  expect(game.commandText("drop", ["me", "spot_bar_1", "cup_bar_2", "shelf_bar_1"])).toBe(
    "drop cup 1 in shelf 2",
  );
  expect(() => game.commandText("drop", ["me"])).toThrow(/expected 4 objects/);
  expect(() => game.commandText("wash", ["me", "soap"])).toThrow(/object `soap`/);
});

test("snapshots bring a play back, on any play of the game", () => {
  const game = AlfworldGame.parse(smallGameText(), { file: "small" });
  const play = game.start();
  play.step("go to shelf 1");
  const { admissibleCommands } = play;
  const snapshot = play.snapshot();
  play.step("take cup 2 from shelf 2");
  const other = game.start();
  other.restore(snapshot);
  expect(other.admissibleCommands).toEqual(admissibleCommands);
  other.step("take cup 2 from shelf 2");
  expect(factTexts(other).sort()).toEqual(factTexts(play).sort());
  play.restore(snapshot);
  expect(play.admissibleCommands).toEqual(admissibleCommands);
});
