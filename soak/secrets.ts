/** Secrets of a gateway that lives for minutes, on loopback. */
export const SECRETS = {
  ADMIN_TOKEN: "the-admin-token-of-the-soak-and-of-nothing-else",
  KEY_MAC_SECRET: "the-mac-secret-of-the-soak-and-of-nothing-else",
  SEALING_KEY: Buffer.alloc(32, "soak").toString("base64"),
} as const;
