/** Calls of the API, with the types of openapi.json. */
import type { components, paths } from "./schema";
import { config } from "../config";
import { bearer, refuse } from "../session/token";

export type Schemas = components["schemas"];

type Method = "get" | "post" | "delete";
type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never;
}[keyof paths];
type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never;
type Parameters<O, K extends string> = O extends { parameters: { [N in K]?: infer T } } ? T : never;
type BodyOf<O> = O extends { requestBody?: infer R }
  ? NonNullable<R> extends { content: { "application/json": infer T } }
    ? T
    : never
  : never;
type Ok<O> = O extends { responses: { 200: { content: { "application/json": infer T } } } } ? T : unknown;

/** `key` is sent as Idempotency-Key. */
export interface Options<P extends keyof paths, M extends Method> {
  path?: Parameters<Operation<P, M>, "path">;
  query?: Parameters<Operation<P, M>, "query">;
  body?: BodyOf<Operation<P, M>>;
  headers?: Record<string, string>;
  key?: string;
  signal?: AbortSignal;
  /** The request outlives the page: for what is sent on leaving it. */
  keepalive?: boolean;
}

/** The API refused, or failed. `facts` is the whole body of the error. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly facts: Readonly<Record<string, unknown>> = {},
    /** Seconds, from Retry-After. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }

  get runId(): string | null {
    return typeof this.facts["run_id"] === "string" ? this.facts["run_id"] : null;
  }
}

/** No answer came: no connection, or it broke. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

export function fill(path: string, values: Record<string, unknown> = {}): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(values[name])));
}

function withQuery(url: string, query: Record<string, unknown> = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.length === 0 ? url : `${url}?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}`;
}

/** The answer as it comes. Raises ApiError for every status that is not 2xx, NetworkError without one. */
export async function open<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  options: Options<P, M> = {},
): Promise<Response> {
  const { api } = await config();
  const token = bearer();
  const headers: Record<string, string> = { ...options.headers };
  if (token !== null) headers["Authorization"] = `Bearer ${token}`;
  if (options.key !== undefined) headers["Idempotency-Key"] = options.key;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const url = withQuery(api + fill(path, options.path as Record<string, unknown>), options.query as Record<string, unknown>);
  let answer: Response;
  try {
    answer = await fetch(url, {
      method: method.toUpperCase(),
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      credentials: "omit",
      cache: "no-store",
      ...(options.signal && { signal: options.signal }),
      ...(options.keepalive && { keepalive: true }),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new NetworkError("The playground could not be reached.");
  }
  if (answer.ok) return answer;
  let error: ApiError;
  try {
    error = await failure(answer);
  } catch (problem) {
    if (options.signal?.aborted) throw problem;
    throw new NetworkError("The answer of the playground broke off.");
  }
  if (error.status === 401 && token !== null) refuse(token);
  throw error;
}

async function failure(answer: Response): Promise<ApiError> {
  let text = "";
  try {
    text = await answer.text();
  } catch (problem) {
    // What the API has said of the request is not known. A 401 has nothing more to say.
    if (answer.status !== 401) throw problem;
  }
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    /* a gateway on the way answered with something else */
  }
  const seconds = Number(answer.headers.get("Retry-After") ?? body["retry_after"] ?? NaN);
  return errorOf(answer.status, body, Number.isFinite(seconds) ? seconds : null);
}

export function errorOf(status: number, body: Record<string, unknown>, retryAfter: number | null = null): ApiError {
  const code = typeof body["error"] === "string" ? body["error"] : "unknown";
  const message = typeof body["message"] === "string" ? body["message"] : "The playground answered with an error.";
  return new ApiError(status, code, message, body, retryAfter);
}

async function call<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  options?: Options<P, M>,
): Promise<Ok<Operation<P, M>>> {
  const answer = await open(method, path, options);
  try {
    return (await answer.json()) as Ok<Operation<P, M>>;
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new NetworkError("The answer of the playground broke off.");
  }
}

export const api = {
  get: <P extends PathOf<"get">>(path: P, options?: Options<P, "get">) => call("get", path, options),
  post: <P extends PathOf<"post">>(path: P, options?: Options<P, "post">) => call("post", path, options),
  delete: <P extends PathOf<"delete">>(path: P, options?: Options<P, "delete">) => call("delete", path, options),
};

/** Also where the page is served without TLS, by an address of the local network: browsers have no `randomUUID` there. */
export function newKey(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) => each.toString(16).padStart(2, "0")).join("");
}
