// The API of both entries of the package as Markdown, from the docstrings, by the folder that each name comes from.
import { readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { Application, Comment, CommentTag, Converter, OptionDefaults } from "typedoc";

const root = fileURLToPath(new URL("../../", import.meta.url));

/**
 * One reference for both entries: what `uncouple` has beside `uncouple/core` are the names of src/host.
 * @param out folder to make
 */
export async function writeApi(out) {
  const entry = join(root, "src", "index.ts");
  const others = [...readFileSync(entry, "utf8").matchAll(/ from "(.*)";/g)]
    .map(([, from]) => from)
    .filter((from) => from !== "./portable.js" && !from.startsWith("./host/"));
  if (others.length > 0)
    throw new Error(
      `[src/index.ts] the API says that all but src/host is in uncouple/core: got ${others}, expected names of src/host. ` +
        "Export it from src/portable.ts, or tell the two apart on the page.",
    );
  const app = await Application.bootstrapWithPlugins({
    plugin: ["typedoc-plugin-markdown", "typedoc-vitepress-theme"],
    entryPoints: [entry],
    tsconfig: join(root, "tsconfig.build.json"),
    // types are checked by `npm run types`
    skipErrorChecking: true,
    name: "API",
    readme: fileURLToPath(new URL("api.md", import.meta.url)),
    mergeReadme: true,
    router: "category",
    out,
    docsRoot: join(out, ".."),
    blockTags: [...OptionDefaults.blockTags, "@source"],
    categorizeByGroup: false,
    disableSources: true,
    excludeExternals: true,
    excludeInternal: true,
    excludePrivate: true,
    logLevel: "Warn",
    validation: { notExported: false, invalidLink: true },
    hidePageHeader: true,
    hideBreadcrumbs: true,
    parametersFormat: "table",
    interfacePropertiesFormat: "table",
    typeDeclarationFormat: "table",
  });
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, categorise);
  const project = await app.convert();
  if (project === undefined) throw new Error("[docs/site] TypeDoc could not read the sources, see above.");
  await app.generateOutputs(project);
}

/** Gives every exported name the category of its folder below src/. */
function categorise(context) {
  for (const reflection of context.project.children ?? []) {
    const file = context.getSymbolFromReflection(reflection)?.declarations?.[0]?.getSourceFile().fileName;
    if (file === undefined) continue;
    const folder = relative(join(root, "src"), file).split(sep)[0];
    for (const told of reflection.signatures ?? [reflection]) {
      told.comment ??= new Comment();
      told.comment.blockTags.push(new CommentTag("@category", [{ kind: "text", text: folder }]));
    }
  }
}
