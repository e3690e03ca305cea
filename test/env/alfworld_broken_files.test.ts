/** Whatever is wrong with a game file, the error is a DataError that names the file and, where there is one, the place. */
import { expect, test } from "vitest";
import { DataError } from "../../src/core/errors.js";
import { Random } from "../../src/core/random.js";
import { AlfworldGame } from "../../src/env/alfworld/game.js";
import { parseDomain, parseProblem } from "../../src/env/pddl/pddl.js";
import { readArchive, withArchive } from "../support/alfworld_archive.js";
import { smallDomain, smallGameText, smallGrammar, smallProblem } from "../support/alfworld_small_game.js";

function errorOf(source: string | Uint8Array, options = {}): Error {
  try {
    AlfworldGame.parse(source, { file: "the_file", ...options });
  } catch (error) {
    return error as Error;
  }
  throw new Error("no error");
}

const shell: [string, string | Uint8Array, RegExp][] = [
  ["no JSON", '{"grammar": "x",\n oops', /line 2 column 2\] not JSON at offset 18/],
  ["cut short", smallGameText().slice(0, 500), /not JSON/],
  ["empty", "", /not JSON/],
  ["bad UTF-8", new Uint8Array([0x7b, 0xff, 0x7d]), /not UTF-8/],
  ["a list", "[]", /not a game/],
  ["null", "null", /not a game/],
  ["missing key", '{"grammar": ""}', /key "pddl_problem" is missing: got grammar/],
  ["missing domain", smallGameText({ pddl_domain: undefined }), /key "pddl_domain" is missing/],
  ["wrong type", smallGameText({ solvable: "yes" }), /key "solvable": got "yes"/],
  ["bad walkthrough", smallGameText({ walkthrough: [1] }), /key "walkthrough": got \[1\]/],
];
test.each(shell)("file: %s", (_, source, message) => {
  const error = errorOf(source);
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(/^\[the_file/);
  expect(error.message).toMatch(message);
});

const domains: [string, string, string, RegExp][] = [
  ["open parenthesis", "(seen ?x)", "((seen ?x)", /line 3 column 1\] unbalanced: `\(` is never closed/],
  ["close parenthesis", "(seen ?x)", "(seen ?x))", /text after the end/],
  [
    "no domain",
    "(domain Cottage)",
    "(problem Cottage)",
    /line 3 column 9\] got a `problem`, expected a `domain`/,
  ],
  ["another language", "(define", "{define", /expected `\(define/],
  ["derived", "(:action look", "(:derived (x) (y)) (:action look", /unsupported section: got `:derived`/],
  [
    "undeclared predicate",
    "(lamp ?o) (not (holdsAny",
    "(lantern ?o) (not (holdsAny",
    /line 45 column 22\] undeclared predicate: got `lantern`/,
  ],
  ["arguments", "(lamp ?o) (not", "(lamp ?o ?a) (not", /predicate `lamp`: got 2 arguments, expected 1/],
  ["variable", "(lamp ?o) (not", "(lamp ?z) (not", /unbound variable: got `\?z`, expected one of: \?a \?o/],
  [
    "connective",
    "(not (holdsAny ?a)))\n  :effect (and (when",
    "(not))\n  :effect (and (when",
    /`\(not ...\)`: got 0 parts, expected 1/,
  ],
  [
    "parameter",
    ":parameters (?a - agent ?o - object)\n  :precondition (and (lamp",
    ":parameters (a - agent)\n  :precondition (and (lamp",
    /got `a`, expected a variable/,
  ],
  [
    "type after dash",
    "(:types agent location",
    "(:types agent - (either a b) location",
    /expected a type name after `-`/,
  ],
  ["type circle", "(:types agent", "(:types a - b b - a agent", /its own ancestor/],
  ["keyword", ":effect (seen ?l))", ":effects (seen ?l))", /action `look`: got `:effects`/],
  [
    "half an action",
    "(seen ?l))\n (:action bag",
    "(seen ?l) :effect)\n (:action bag",
    /got nothing after `:effect`/,
  ],
  ["action twice", "(:action bag", "(:action look", /action `look` is defined twice/],
];
test.each(domains)("domain: %s", (_, from, to, message) => {
  expect(smallDomain).toContain(from);
  const error = errorOf(smallGameText({ pddl_domain: smallDomain.replace(from, to) }));
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(/^\[the_file pddl_domain line \d+ column \d+\]/);
  expect(error.message).toMatch(message);
});

const problems: [string, string, string, RegExp][] = [
  ["other domain", "(:domain cottage)", "(:domain castle)", /other domain: got `castle`, expected `cottage`/],
  ["unknown type", "ShelfType - rtype", "ShelfType - rtyp", /object `boxtype`: got type `rtyp`/],
  [
    "unknown object",
    "(in Cup_bar_2 Box_bar_1)",
    "(in Cup_bar_3 Box_bar_1)",
    /line 12 column 4\] unknown object: got `cup_bar_3`/,
  ],
  ["unknown predicate", "(lamp Lamp", "(lampe Lamp", /undeclared predicate: got `lampe`/],
  ["no goal", /\(:goal[\s\S]*$/.exec(smallProblem)?.[0] as string, ")", /no `\(:goal \.\.\.\)`/],
  ["two goals", "(:goal", "(:goal (isOn Lamp_bar_1)", /got 2 goals, expected 1/],
  ["a word", "(:init", "now (:init", /got `now`, expected a section/],
  ["unbound", "(in ?p ?r)", "(in ?q ?r)", /unbound variable: got `\?q`/],
];
test.each(problems)("problem: %s", (_, from, to, message) => {
  expect(smallProblem).toContain(from);
  const error = errorOf(smallGameText({ pddl_problem: smallProblem.replace(from, to) }));
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(/^\[the_file pddl_problem line \d+ column \d+\]/);
  expect(error.message).toMatch(message);
});

const grammars: [string, string, string, RegExp][] = [
  [
    "action without texts",
    'action wait { template :: "wait"; feedback :: "Time passes."; }',
    "",
    /action `wait` of the domain has no texts/,
  ],
  ["bad JSON", '"list_empty": [', '"list_empty": {', /line 8 column \d+\] bad JSON in a grammar block/],
  ["JSON list", '"""{"flip.feedback": [', '"""[{"flip.feedback": [', /bad JSON|expected a JSON object/],
  ["no rhs", '{"rhs": "; "}', '{"lhs": "; "}', /rule "list_separator": expected \{"rhs"/],
  ["no alternatives", '[{"rhs": "; "}]', "[]", /rule "list_separator": expected a list/],
  ["missing rule", "#content#", "#contents#", /no rule: got "#contents#"/],
  ["circle", "Evening.", "Evening. #intro#", /rule "intro" refers to itself/],
  ["no intro", '"intro"', '"outro"', /no rule: got "#intro#"/],
  ["no task", '"task"', '"tasks"', /no rule "task"/],
  [
    "unbound variable",
    "\"{'A ' + o.name}",
    "\"{'A ' + x.name}",
    /unbound variable: got `x`, expected one of: a, o/,
  ],
  ["attribute", "o.definite", "o.weight", /`o\.weight` in expression/],
  ["expression", "{o.definite}", "{o.definite -}", /got `-` in expression/],
  ["brace", "{o.definite}", "{o.definite", /bad text|unclosed/],
  ["list end", "l:location)}]. Beside", "l:location)}. Beside", /a list without its end/],
  ["rule end", "#look.feedback#\\n", "#look.feedback\\n#", /no rule|second one/],
  ["query", "holds(a:agent, o:object)}]", "holds(a, o:object)}]", /bad query: got "holds\(a, o:object\)"/],
  ["quote", '"never"; }', '"never; }', /an unclosed quote/],
  ["long quote", '"""(unused)"""', '"""(unused)', /expected/],
  ["semicolon", '"bag";', '"bag"', /got `feedback`, expected `;`/],
  ["word", "action bag", "acton bag", /got `acton`, expected `grammar` or `action`/],
  ["half an action", 'feedback :: "Washed.";', "", /action wash: no `feedback`/],
  ["sign", "action wash {", "action wash (", /got `\(`/],
];
test.each(grammars)("grammar: %s", (_, from, to, message) => {
  expect(smallGrammar).toContain(from);
  const error = errorOf(smallGameText({ grammar: smallGrammar.replace(from, () => to) }));
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(/^\[the_file grammar/);
  expect(error.message).toMatch(message);
});

test("given rules are named in errors", () => {
  const domain = errorOf(smallGameText(), { domain: "(", domainFile: "new.pddl" });
  expect(domain.message).toMatch(/^\[new\.pddl line 1 column 1\]/);
  const grammar = errorOf(smallGameText(), { grammar: "action", grammarFile: "new.twl2" });
  expect(grammar.message).toMatch(/^\[new\.twl2 line 1 column 7\]/);
});

test("deep nesting and explosive formulas are refused", () => {
  const deep = smallDomain.replace(
    "(atLocation ?a ?l) :effect",
    `${"(not ".repeat(300)}(seen ?l)${")".repeat(300)} :effect`,
  );
  expect(errorOf(smallGameText({ pddl_domain: deep })).message).toMatch(/nested too deeply/);
  const choice = "(or (seen ?a) (seen ?l))";
  const pairs = Array.from({ length: 20 }, (_, i) => `(or (in ?o${i} ?l) (lies ?o${i} ?l))`).join(" ");
  const parameters = Array.from({ length: 20 }, (_, i) => `?o${i}`).join(" ");
  const wide = smallDomain.replace(
    /\(:action look[\s\S]*?:effect \(seen \?l\)\)/,
    `(:action look :parameters (?a - agent ?l - location ${parameters}) :precondition (and ${choice} ${pairs}) :effect (seen ?l))`,
  );
  expect(errorOf(smallGameText({ pddl_domain: wide }))).toBeInstanceOf(DataError);
});

/** The small grammar whose first text refers to the first of some rules. @param text of rule `r<level>` */
function withRules(levels: number, text: (level: number) => string): string {
  const rules = Array.from(
    { length: levels },
    (_, level) => `"r${level}": [{"rhs": ${JSON.stringify(text(level))}}]`,
  );
  return smallGrammar
    .replace("Evening.", () => "Evening. #r0#")
    .replace('"""{', () => `"""{${rules.join(", ")}, "r${levels}": [{"rhs": "."}], `);
}

const endless: [string, string, RegExp][] = [
  [
    "rules that double",
    withRules(40, (i) => `#r${i + 1}##r${i + 1}#`),
    /rule "r\d+" of "intro" has no end: got over 100000 parts/,
  ],
  [
    "in an action",
    withRules(40, (i) => `#r${i + 1}##r${i + 1}#`)
      .replace("Evening. #r0#", "Evening.")
      .replace('"Washed."', '"#r0#"'),
    /rule "r\d+" of "wash" has no end/,
  ],
  ["a way of a thousand rules", withRules(1000, (i) => `#r${i + 1}#`), /too often: got over 100 in a row/],
  [
    "ways with other variables",
    withRules(30, (i) => `{#r${i + 1}# | lamp(a${i}:object)}{#r${i + 1}# | lamp(b${i}:object)}`),
    /too often: got over 100000 ways|no end/,
  ],
];
test.each(endless)("a grammar without an end is refused at once: %s", (_, grammar, message) => {
  const started = process.cpuUsage();
  const error = errorOf(smallGameText({ grammar }));
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(/^\[the_file grammar/);
  expect(error.message).toMatch(message);
  // microseconds of this process, which others on the machine do not lengthen
  expect(process.cpuUsage(started).user).toBeLessThan(3_000_000);
});

test("lists in lists end when they are written", () => {
  const grammar = withRules(12, (i) => `[{#r${i + 1}# | lies(o${i}:object, h:location)}]`);
  const things = Array.from({ length: 12 }, (_, i) => `thing_${i}`);
  const problem = smallProblem
    .replace("(:objects", `(:objects ${things.join(" ")} - object`)
    .replace("(:init", `(:init ${things.map((thing) => `(lies ${thing} Hall_bar_0)`).join(" ")}`);
  const game = AlfworldGame.parse(smallGameText({ grammar, pddl_problem: problem }), { file: "the_file" });
  const started = performance.now();
  expect(() => game.start().intro()).toThrow(
    /^\[the_file grammar\] a text has no end: got over 100000 parts/,
  );
  expect(performance.now() - started).toBeLessThan(3000);
});

test.each([
  [
    "facts",
    "(:init",
    `(:init ${"(lamp Lamp_bar_1) ".repeat(300_000)}`,
    /line \d+ column \d+\] text is too long: got over 200000 words/,
  ],
  [
    "objects",
    "(:objects",
    `(:objects ${Array.from({ length: 30_000 }, (_, i) => `thing_${i} - object`).join(" ")}`,
    /line \d+ column \d+\] too many objects: got over 5000/,
  ],
] as const)("too many %s are refused at once, with their line", (_, from, to, message) => {
  const started = performance.now();
  const error = errorOf(smallGameText({ pddl_problem: smallProblem.replace(from, () => to) }));
  expect(error).toBeInstanceOf(DataError);
  expect(error.message).toMatch(message);
  expect(performance.now() - started).toBeLessThan(3000);
});

test("JSON nested a million times is refused", () => {
  const nested = `${"[".repeat(1e6)}${"]".repeat(1e6)}`;
  expect(errorOf(nested)).toBeInstanceOf(DataError);
  expect(
    errorOf(smallGameText({ grammar: smallGrammar.replace('[{"rhs": "; "}]', () => nested) })),
  ).toBeInstanceOf(DataError);
});

test("the parsers can be used alone", () => {
  const domain = parseDomain(smallDomain, "d");
  expect(parseProblem(smallProblem, domain, "p").objects.get("box_bar_1")).toBe("receptacle");
  expect(domain.actions.get("walk")?.parameters[1]).toEqual({ name: "?from", type: "location" });
});

/** Parses and, if that goes well, plays a little. */
function tryText(text: string, random: Random): void {
  try {
    const play = AlfworldGame.parse(text, { file: "the_file" }).start();
    play.intro();
    for (let i = 0; i < 3 && play.admissibleCommands.length > 0; i++)
      play.step(random.pick(play.admissibleCommands));
  } catch (error) {
    expect(error, (error as Error).stack).toBeInstanceOf(DataError);
    expect((error as Error).message).toContain("the_file");
  }
}

/** Cuts, doubles or replaces a piece of a text. */
function damaged(text: string, random: Random): string {
  const at = random.integer(text.length);
  const end = Math.min(text.length, at + 1 + random.integer(12));
  const junk = [
    "",
    "(",
    ")",
    '"',
    "\\",
    "{",
    "}",
    "#",
    "?",
    "-",
    "::",
    "[",
    "]",
    "|",
    "&",
    "\u0000",
    text.slice(at, end).repeat(2),
  ];
  return text.slice(0, at) + random.pick(junk) + text.slice(end);
}

test("damaged files never fail in another way", () => {
  const random = Random.of(1, "damage");
  const whole = smallGameText();
  for (let i = 0; i < 300; i++) tryText(damaged(whole, random), random);
  for (const [key, text] of [
    ["pddl_domain", smallDomain],
    ["pddl_problem", smallProblem],
    ["grammar", smallGrammar],
  ] as const) {
    for (let i = 0; i < 500; i++) tryText(smallGameText({ [key]: damaged(text, random) }), random);
    for (let i = 0; i < 100; i++)
      tryText(smallGameText({ [key]: text.slice(0, random.integer(text.length)) }), random);
  }
});

withArchive.test("damaged real files never fail in another way", () => {
  const random = Random.of(2, "damage");
  const games = random.shuffle(readArchive()).slice(0, 12);
  for (const game of games) {
    const text = game.text();
    for (let i = 0; i < 6; i++) tryText(damaged(text, random), random);
    tryText(text.slice(0, random.integer(text.length)), random);
    const parsed = JSON.parse(text) as Record<string, string>;
    for (const key of ["pddl_domain", "pddl_problem", "grammar"]) {
      tryText(JSON.stringify({ ...parsed, [key]: damaged(parsed[key] as string, random) }), random);
    }
  }
});
