/** What a comparison asks for, and what its columns are called. */

import type { Schemas } from "../../api/client";

export type Model = Schemas["RunBody"]["model"];

export const MIN_VARIANTS = 2;
export const MAX_VARIANTS = 4;
export const MAX_INPUT_LENGTH = 10_000;

export interface Variant {
  packageId: string;
  packageName: string;
  model: Model;
  withPackage: boolean;
}

export interface VariantBody {
  package_id: string;
  model: Model;
  use_no_prompt: boolean;
  variables?: Record<string, string>;
}

/** Variables get their defaults; one without a default is refused before anything is charged. */
export function body({ packageId, model, withPackage }: Variant): VariantBody {
  const common = { package_id: packageId, model, use_no_prompt: !withPackage };
  return withPackage ? { ...common, variables: {} } : common;
}

export function title(variant: Variant): string {
  const what = variant.withPackage ? variant.packageName || "A package" : "Without a package";
  return `${what}, ${variant.model}`;
}

/** Columns whose run would be the same as that of one before: the API refuses those. */
export function repeated(variants: readonly Variant[]): number[] {
  const seen = new Set<string>();
  return variants.flatMap((variant, place) => {
    // Without its prompt, no package differs from another one.
    const key = JSON.stringify([variant.withPackage ? variant.packageId : null, variant.model]);
    if (seen.has(key)) return [place];
    seen.add(key);
    return [];
  });
}

/** The two columns that a comparison begins with: with the package and without. */
export function withAndWithout(packageId: string, packageName: string, model: Model): Variant[] {
  const common = { packageId, packageName, model };
  return [
    { ...common, withPackage: true },
    { ...common, withPackage: false },
  ];
}

/** One column more: the first model that none of the columns with the package has, if there is one. */
export function another(variants: readonly Variant[], models: readonly Model[]): Variant {
  const first = variants[0] as Variant;
  const used = new Set(variants.filter((variant) => variant.withPackage).map((variant) => variant.model));
  const model = models.find((name) => !used.has(name)) ?? first.model;
  return { ...first, withPackage: true, model };
}
