/** What a comparison asks for, and what its columns are called. */

import type { Schemas } from "../../api/client";
import { modelName } from "../../lib/format";
import { mostTokens, promptProblem, type PromptInfo } from "../../lib/prompts";
import { filledIn } from "../../lib/variables";

export type Model = Schemas["RunBody"]["model"];
export type ModelDetails = Pick<Schemas["ModelAnswer"], "name" | "efforts" | "max_tokens">;
export type Variable = Schemas["PackageDetails"]["variables"][number];
export type VariantBody = Partial<Schemas["Variant"]> & Pick<Schemas["Variant"], "model">;
type Effort = NonNullable<VariantBody["effort"]>;

export const MIN_VARIANTS = 2;
export const MAX_VARIANTS = 4;
export const MAX_INPUT_LENGTH = 10_000;

export interface Variant {
  /** What is sent before the input: the text of a package, one of the caller's own, or nothing. */
  prompt: "package" | "own" | "none";
  packageId: string;
  packageName: string;
  values: Readonly<Record<string, string>>;
  own: string;
  model: Model;
  effort: string | null;
  maxTokens: number | null;
}

/** What is known about what the columns name. */
export interface Known {
  variables: Readonly<Record<string, readonly Variable[]>>;
  models: readonly ModelDetails[];
  info: PromptInfo | null;
}

const NO_MORE = { values: {}, own: "", effort: null, maxTokens: null };

/** The API needs a package also where nothing of it is sent: `anyPackageId` stands in where no column has one. */
export function body(variant: Variant, known: Known, anyPackageId = ""): VariantBody {
  const settings: VariantBody = { model: variant.model };
  const model = known.models.find((each) => each.name === variant.model);
  if (variant.effort !== null && model?.efforts.includes(variant.effort)) settings.effort = variant.effort as Effort;
  if (variant.maxTokens !== null) {
    const most = mostTokens(model?.max_tokens.most ?? variant.maxTokens, variant.prompt === "own", known.info);
    settings.max_tokens = Math.min(variant.maxTokens, most);
  }
  switch (variant.prompt) {
    case "own":
      return { ...settings, custom_prompt: variant.own };
    case "none":
      return { ...settings, package_id: variant.packageId || anyPackageId, use_no_prompt: true };
    case "package":
      return { ...settings, package_id: variant.packageId, variables: given(variant, known) };
  }
}

/** The values that were filled in; variables without one get their defaults. */
function given(variant: Variant, known: Known): Record<string, string> {
  const names = new Set((known.variables[variant.packageId] ?? []).map((each) => each.name));
  return Object.fromEntries(Object.entries(variant.values).filter(([name, text]) => names.has(name) && text !== ""));
}

/** What is missing in a column before it can be asked; null if nothing is. */
export function missing(variant: Variant, known: Known): string | null {
  switch (variant.prompt) {
    case "none":
      return null;
    case "own":
      return known.info === null ? "Prompts of your own cannot be run at present." : promptProblem(variant.own, known.info.limits);
    case "package": {
      if (variant.packageId === "") return "Choose a package.";
      const needed = known.variables[variant.packageId];
      if (needed === undefined) return "The package is being loaded.";
      const first = needed.find((each) => each.default === null && filledIn(variant.values, each.name) === "");
      return first === undefined ? null : `Fill in “${first.name.replaceAll("_", " ")}”.`;
    }
  }
}

/** The first column in which something is missing, and what. */
export function firstMissing(variants: readonly Variant[], known: Known): string | null {
  for (const [place, variant] of variants.entries()) {
    const text = missing(variant, known);
    if (text !== null) return `Column ${place + 1}: ${text}`;
  }
  return null;
}

export function title(variant: Variant): string {
  const names = { package: variant.packageName || "A package", own: "Your own prompt", none: "Without a package" };
  return `${names[variant.prompt]}, ${modelName(variant.model ?? "")}`;
}

/** Columns whose run would be the same as that of one before: the API refuses those. */
export function repeated(variants: readonly Variant[], known: Known): number[] {
  const seen = new Set<string>();
  return variants.flatMap((variant, place) => {
    // Without its prompt, no package differs from another one.
    const { package_id, ...settings } = body(variant, known);
    const key = JSON.stringify(sorted({ ...settings, package_id: variant.prompt === "package" ? package_id : null }));
    if (seen.has(key)) return [place];
    seen.add(key);
    return [];
  });
}

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, inner]) => [name, sorted(inner)]);
}

/** The two columns that a comparison begins with: with the package and without. */
export function withAndWithout(packageId: string, packageName: string, model: Model): Variant[] {
  const common = { ...NO_MORE, packageId, packageName, model };
  return [
    { ...common, prompt: "package" },
    { ...common, prompt: "none" },
  ];
}

/** One column more, like the first: with the first model that none of the columns with its prompt has, if there is one. */
export function another(variants: readonly Variant[], models: readonly ModelDetails[]): Variant {
  const first = variants[0] as Variant;
  const prompt = first.prompt === "none" ? "package" : first.prompt;
  const used = new Set<unknown>(variants.filter((variant) => variant.prompt === prompt).map((variant) => variant.model));
  const model = models.find((each) => !used.has(each.name))?.name ?? first.model;
  return { ...first, prompt, model: model as Model };
}

/** The package that stands in for one where nothing of a package is sent; empty if no column has one. */
export function packageOfAny(variants: readonly Variant[]): string {
  return variants.find((variant) => variant.packageId !== "")?.packageId ?? "";
}
