/** The coupling report as a file: whole, self-contained, escaped, readable without eyes and without a pointer. */
import { expect, test } from "vitest";
import type { CouplingDocument, GoodAnswers } from "../../src/report/coupling_document.js";
import { heatClass, heatStep } from "../../src/report/coupling_heat_map.js";
import { couplingReportHtml } from "../../src/report/coupling_report.js";
import { couplingSummaryLines } from "../../src/report/coupling_summary.js";
import { numberText, pairSentence, shortText, signedText } from "../../src/report/coupling_text.js";
import { drawnDocument } from "../support/coupling_document.js";

const document = drawnDocument(12);
const html = couplingReportHtml([document]);

/** Start and end tags in their order must nest; elements that HTML does not close are left out. */
function unbalanced(text: string): string[] {
  const open: string[] = [];
  const markup = text.replaceAll(
    /<script[^>]*>[\s\S]*?<\/script>|<style>[\s\S]*?<\/style>|<!doctype html>/g,
    "",
  );
  for (const [, closing, name, self] of markup.matchAll(/<(\/?)([a-z0-9]+)[^>]*?(\/?)>/g)) {
    if (self || ["meta", "br"].includes(name)) continue;
    if (!closing) open.push(name);
    else if (open.pop() !== name) return [`</${name}>`];
  }
  return open;
}

test("one file with every section, nothing loaded from elsewhere", () => {
  expect(unbalanced(html)).toEqual([]);
  const titles = [...html.matchAll(/<h2>([^<]*)<\/h2>/g)].map(([, title]) => title);
  expect(titles).toEqual([
    "Numbers",
    "Heat map",
    "Worst pairs",
    "Cosines by class",
    "Danger zone",
    "Rewarded answers held down",
    "Hidden states",
    "Layers",
    "Tokens of one sample",
    "Predicted and measured",
    "Samples",
    "How it was measured",
  ]);
  expect(html).not.toMatch(/\b(src|href)=|url\(|@import|fetch\(|https?:/);
  expect(html).toContain("prefers-color-scheme: dark");
});

test("text of samples stays text", () => {
  expect(html).not.toMatch(/<b>|<shelf>|<4>|<run>/);
  expect(html).toContain("open &lt;b&gt;fridge&lt;/b&gt;");
  const samples = document.samples.map((sample) => ({
    ...sample,
    action: "</script><script>alert(1)</script>",
    stateText: '"><img onerror=alert(1)>',
  }));
  const page = couplingReportHtml([{ ...document, samples }]);
  expect(page.match(/<script/g)).toHaveLength(2);
  expect(page).not.toContain("<img");
});

test("every picture has its text, and everything can be reached by the keyboard", () => {
  const pictures = [...html.matchAll(/<svg [^>]*>/g)].map(([tag]) => tag);
  const silent = pictures.filter((tag) => !/aria-label="[^"]{20,}"/.test(tag));
  // the legend's bar is named by the element around it
  expect(silent).toHaveLength(1);
  expect(html).toMatch(/class="legend" role="img" aria-label="Colours/);
  expect(html).toMatch(/class="heat" id="heat0" tabindex="0"/);
  expect(html).toContain('aria-live="polite"');
  for (const [tag] of html.matchAll(/<div class="scroll"[^>]*>/g)) expect(tag).toContain('tabindex="0"');
});

test("the heat map holds each pair once, in the given order", () => {
  const cells = [...html.matchAll(/<path class="([np]\d+)" d="([^"]*)"/g)].flatMap(([, name, path]) =>
    [...path.matchAll(/M(\d+) (\d+)h1v1h-1z/g)].map(([, x, y]) => ({ name, x: Number(x), y: Number(y) })),
  );
  expect(cells).toHaveLength(144);
  const { gram, order } = document;
  for (const { name, x, y } of cells) {
    const [i, j] = [order[y], order[x]];
    const cosine = gram[i * 12 + j] / Math.sqrt(gram[i * 12 + i] * gram[j * 12 + j]);
    expect(name).toBe(heatClass(heatStep(cosine)));
  }
  expect([-1.2, -0.04, 0, 0.26, 1].map(heatStep).map(heatClass)).toEqual(["n10", "p0", "p0", "p3", "p10"]);
});

test("the script's data are those of the analysis", () => {
  const [, json] = html.match(/<script type="application\/json" id="heat0-data">(.*?)<\/script>/s) ?? [];
  const data = JSON.parse(json);
  expect([data.order, data.gram]).toEqual([document.order, document.gram]);
  expect(data.samples[1].push).toBeCloseTo(-0.6 / 12, 12);
});

test("a worst pair reads with both states, advantages, and what was predicted and measured", () => {
  const [pair] = document.pairs;
  const [from, to] = [document.samples[pair.from], document.samples[pair.to]];
  const [, first] = html.match(/<ol class="pairs"><li>(.*?)<\/li>/s) ?? [];
  for (const text of [
    numberText(pair.gram),
    signedText(pair.change),
    signedText(to.total),
    signedText(to.advantage),
  ])
    expect(first).toContain(text);
  expect(first).toContain(from.state === to.state ? "the same" : from.stateText.split("\n")[0]);
  expect(pairSentence(document.samples, pair)).toMatch(/raises .* predicted change \+/);
  expect(pairSentence(document.samples, { ...pair, change: -1 })).toContain("lowers");
});

test("answers with more than an action have their cosines twice, in the page and in the text", () => {
  const actionTokens = {
    withinState: { ...document.withinState, goodBad: { pairs: 24, mean: 0.4321 } },
    acrossStates: { ...document.acrossStates, goodBad: { pairs: 7, mean: -0.125 } },
  };
  const both = { ...document, actionTokens };
  const page = couplingReportHtml([both]);
  expect(page).toContain("<h3>Tokens of the action alone</h3>");
  expect(page).toContain("Mean cosines of action tokens: good and good, same state");
  expect(page).toContain("good and bad, across states -0.125 of 7 pairs");
  const lines = couplingSummaryLines(both).filter((line) => line.includes("mean cosine"));
  expect(lines).toHaveLength(4);
  expect(lines[3]).toMatch(/mean cosine of the action's tokens, across states: .* good-bad -0\.125 \(7\)$/);
  expect(couplingSummaryLines(document).filter((line) => line.includes("mean cosine"))).toHaveLength(2);
  expect(html).not.toContain("Tokens of the action alone");
});

test("hidden states, held-down answers and the optimiser's danger zone are drawn, told and escaped", () => {
  const probe = { judged: 12, balancedAccuracy: 0.8125, chance: 0.5017, chanceHigh: 0.66 };
  const full: CouplingDocument = {
    ...document,
    dangerOptimiser: { points: [{ index: 1, q: 0.3, drift: -0.02 }], toy: null },
    goodAnswers: {
      groups: [
        {
          sample: 0,
          positives: 3,
          negatives: 2,
          gwhes: 0.25,
          raw: -0.5,
          optimiser: -0.03,
          punishedTokens: 9,
          pullingTokens: 4,
        },
        {
          sample: 3,
          positives: 1,
          negatives: 1,
          gwhes: -0.75,
          raw: 0.5,
          optimiser: 0.03,
          punishedTokens: 5,
          pullingTokens: 0,
        },
      ],
      tokens: [{ sample: 1, text: "<drawer>", score: 0.9, threshold: 0.1 }],
      rankRaw: 1,
      rankOptimiser: 0.5,
    },
    sharedTokens: { groups: 2, tokens: 7, residual: 0.125 },
    views: ["before", "after"].map((what) => ({
      what,
      probe,
      centroids: { cosine: 0.97, separation: 0.4 },
      plane: { points: document.samples.map((_, i) => [i, i % 5] as const), shares: [0.6, 0.25] as const },
    })),
    stateAction: {
      ...{
        visits: 40,
        states: 12,
        actions: 6,
        actionEntropy: 1.7,
        plugIn: 1.1,
        shuffled: 0.3,
        corrected: 0.8,
      },
      ...{ retrieval: 0.5, retrievalShuffled: 0.1 },
    },
  };
  const page = couplingReportHtml([full]);
  expect(unbalanced(page)).toEqual([]);
  for (const text of [
    "Through the optimiser's actual update",
    "&lt;drawer&gt;",
    "4 of 9",
    "GWHES is above 0 in 1 of 2 states",
    "Cancellation residual on the 7 tokens",
    "60 % of variance",
    "0.813",
    "40, 12, 6",
  ])
    expect(page, text).toContain(text);
  const quiet = couplingReportHtml([
    { ...full, goodAnswers: { ...full.goodAnswers, tokens: [] } as GoodAnswers },
  ]);
  expect(quiet).toContain("No token of a punished answer pulls");
  const rewarded = document.samples.filter(({ advantage }) => advantage > 0).length;
  expect(page.match(/class="mark good"/g)).toHaveLength(2 * rewarded);
  expect(page.match(/class="mark bad"/g)).toHaveLength(2 * (12 - rewarded));
  const lines = couplingSummaryLines(full).join("\n");
  for (const text of [
    /danger zone, plain step: Fitted risk/,
    /danger zone, through the optimiser: No toy/,
    /GWHES above 0\): in 1 of 2 states; ranks .*: 1 plain, 0.5 through/,
    /NTHR\): 4 of 14/,
    /cancellation residual: 0.125 on 7 tokens of 2 prompts/,
    /linear probe after: balanced accuracy 0.8125 on 12 held out, chance 0.5017/,
    /information of state and action: 0.8 nats \(1.1 less 0.3 by shuffling\) of 1.7; retrieval 0.5, shuffled 0.1/,
  ])
    expect(lines).toMatch(text);
});

test("two analyses stand beside each other", () => {
  const page = couplingReportHtml([document, drawnDocument(9, "the other", 2)]);
  expect(unbalanced(page)).toEqual([]);
  expect(page.match(/class="heat" id="heat[01]"/g)).toHaveLength(2);
  expect(page.match(/<h3>the other<\/h3>/g)).toHaveLength(11 - 1);
  expect(() => couplingReportHtml([])).toThrow(/got 0 analyses, expected 1, or 2/);
});

test("an analysis with nothing in it is told, not drawn", () => {
  const empty: CouplingDocument = {
    ...document,
    samples: [],
    gram: [],
    order: [],
    pairs: [],
    layers: [],
    agreements: [],
    tokenHeat: null,
    danger: { points: [], toy: null },
  };
  const page = couplingReportHtml([empty]);
  for (const text of [
    "No samples.",
    "No sample raises",
    "No punished action",
    "No layers",
    "No tokens",
    "--verify",
  ])
    expect(page).toContain(text);
  expect(() => couplingReportHtml([{ ...document, order: [0] }])).toThrow(
    /got 144 products and 1 places for 12/,
  );
});

test("numbers and cut texts", () => {
  expect([0, 0.123456, -12345, 2e-7, null].map(numberText)).toEqual([
    "0",
    "0.123",
    "-12300",
    "2.00e-7",
    "none",
  ]);
  expect([0.5, -0.5, 0].map(signedText)).toEqual(["+0.5", "-0.5", "0"]);
  expect([shortText("abcdef", 4), shortText(" abcd ", 4)]).toEqual(["abc…", "abcd"]);
});
