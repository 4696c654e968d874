/**
 * Who lives in the demo. Credentials are SHA-256 digests of public phrases, so that scripts can derive them; they
 * exist in the demo and in tests only.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

const derive = (phrase: string): string => createHash("sha256").update(phrase).digest("hex");

export const DEMO = {
  /** Subscribed. */
  acme: {
    apiKey: derive("acme-demo-key"),
    revokedApiKey: derive("revoked-demo-key"),
    token: `pos_${derive("acme-demo-token").slice(0, 40)}`,
  },
  /** Without a subscription. */
  lapsed: {
    apiKey: derive("lapsed-demo-key"),
  },
} as const;

/** The gateway's own secrets in the demo. */
export const DEMO_SECRETS = {
  keyMac: derive("demo key MAC secret"),
  sealing: Buffer.from(derive("demo sealing key"), "hex").toString("base64"),
} as const;
