import { defineConfig } from "vitest/config";

// For `npm run dev`: where the API is. `make run` serves it on port 3000.
const stack = process.env["STACK_URL"] ?? "http://127.0.0.1:3000";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the content security policy allows nothing inline
    modulePreload: { polyfill: false },
    manifest: true, // scripts/size.mjs reads which files the first view needs
  },
  server: { proxy: { "/api": stack, "/config.json": stack } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"] },
});
