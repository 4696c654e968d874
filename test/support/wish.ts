/** What is asked for when a gateway key is issued and nothing about it matters. */
export const WISH = {
  name: "k",
  scopes: ["*"],
  expiresAtMs: null,
  allowedNetworks: [],
  apiPerMinute: null,
} as const;
