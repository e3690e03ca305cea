import { existsSync, readFileSync } from "node:fs";
import { defineConfig } from "vitepress";
import { flowcharts } from "../flowchart.js";
import { isRelative, pageOf, siteLink, sourceOf, targetOf } from "../sources.js";

/** Relative links and pictures of the documents as links of the site. */
function documentLinks(markdown) {
  markdown.core.ruler.push("document_links", ({ tokens, env }) => {
    const source = sourceOf(env.relativePath);
    if (source === undefined) return;
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const name = { link_open: "href", image: "src" }[token.type];
      const link = name && token.attrGet(name);
      if (link && isRelative(link))
        token.attrSet(name, name === "href" ? siteLink(source, link) : pictureOf(source, link));
    }
  });
}

function pictureOf(source, link) {
  return `/${pageOf(targetOf(source, link)).replace(/^public\//, "")}`;
}

/** Anchors as the repository's own pages have them. */
function anchorOf(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-");
}

/** The folders of the API, and beside a page the names of its own folder. */
function apiSidebars() {
  const file = new URL("../pages/api/typedoc-sidebar.json", import.meta.url);
  const folders = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : [];
  const back = { text: "Documentation", items: [{ text: "Overview and quickstart", link: "/start" }] };
  const all = { text: "API", items: folders.map(({ text }) => ({ text, link: `/api/#${text}` })) };
  const own = folders.map(({ text, items }) => [`/api/${text}/`, [back, all, { text, items }]]);
  return { ...Object.fromEntries(own), "/api/": [back, all] };
}

export default defineConfig({
  title: "uncouple",
  description:
    "Reinforcement learning of transformer policies on WebGPU, and gradient coupling measured exactly.",
  lang: "en",
  srcDir: "pages",
  outDir: "dist",
  cacheDir: "node_modules/.vitepress",
  ignoreDeadLinks: false,
  // the index of the search is one chunk
  vite: { build: { chunkSizeWarningLimit: 2000 } },
  markdown: {
    anchor: { slugify: anchorOf },
    config: (markdown) => {
      documentLinks(markdown);
      flowcharts(markdown);
    },
  },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    externalLinkIcon: true,
    nav: [
      { text: "Start", link: "/start" },
      { text: "Concepts", link: "/concepts" },
      { text: "Guides", link: "/reading_a_run", activeMatch: "^/(reading_a_run|environments|contributing)" },
      { text: "Configuration", link: "/configuration" },
      { text: "API", link: "/api/", activeMatch: "^/api/" },
    ],
    sidebar: {
      "/": [
        {
          text: "Start",
          items: [
            { text: "Overview and quickstart", link: "/start" },
            { text: "Gradient coupling for newcomers", link: "/concepts" },
          ],
        },
        {
          text: "Guides",
          items: [
            { text: "Reading a run", link: "/reading_a_run" },
            { text: "Measuring coupling", link: "/coupling" },
            { text: "Experiments", link: "/experiments/" },
            { text: "Policies that were trained here", link: "/models/" },
            { text: "Worlds", link: "/environments" },
            { text: "A world of your own", link: "/environments#worlds-of-your-own" },
            { text: "An op of your own", link: "/contributing#a-new-op" },
            { text: "An estimator of your own", link: "/contributing#a-new-advantage-estimator" },
            { text: "Qwen2.5 at size", link: "/large_models" },
            { text: "Bench on your GPU", link: "/performance#hardware" },
          ],
        },
        {
          text: "Reference",
          items: [
            { text: "Configuration", link: "/configuration" },
            { text: "Glossary and metrics", link: "/glossary" },
            { text: "Algorithms", link: "/algorithms" },
            { text: "API", link: "/api/" },
          ],
        },
        {
          text: "How it works",
          items: [
            { text: "Architecture", link: "/architecture" },
            { text: "One training step", link: "/training_step" },
            { text: "Numerics", link: "/numerics" },
            { text: "Tuning", link: "/tuning" },
            { text: "Reliability", link: "/reliability" },
            { text: "Contributing", link: "/contributing" },
          ],
        },
        {
          text: "Measured",
          items: [
            { text: "Performance", link: "/performance" },
            { text: "GCD on household games", link: "/experiments/household_gcd" },
            { text: "Coupling along GRPO", link: "/experiments/coupling" },
            { text: "Real ALFWorld from fresh weights", link: "/experiments/alfworld" },
            { text: "Mutation testing", link: "/mutation" },
            { text: "Log", link: "/log" },
          ],
        },
      ],
      ...apiSidebars(),
    },
  },
});
