// the package's main file is CommonJS by content and a module by its package.json, so that Node cannot load it
declare module "wgsl_reflect/wgsl_reflect.module.js" {
  export * from "wgsl_reflect";
}
