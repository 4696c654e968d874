/** The part of Postiz's public API that people try first; the rest is 404 here. */
import { json } from "./answers.ts";
import { createPosts, deletePost, listPosts } from "./posts.ts";
import { type Route, route } from "./routing.ts";
import { upload, uploadFromUrl } from "./upload.ts";

const CHANNELS = [
  { id: "demo-x", name: "Acme on X", identifier: "x", profile: "acme" },
  { id: "demo-linkedin", name: "Acme Inc.", identifier: "linkedin-page", profile: "acme-inc" },
  { id: "demo-mastodon", name: "Acme", identifier: "mastodon", profile: "acme@mastodon.example" },
].map((channel) => ({ ...channel, picture: "/no-picture.jpg", disabled: false }));

export const apiRoutes: readonly Route[] = [
  route("GET", "/is-connected", () => json(200, { connected: true })),
  route("GET", "/integrations", () => json(200, CHANNELS)),
  route("GET", "/posts", ({ credential }) => json(200, { posts: listPosts(credential) })),
  route("POST", "/posts", createPosts),
  route("DELETE", "/posts/:id", deletePost),
  route("POST", "/upload", upload),
  route("POST", "/upload-from-url", uploadFromUrl),
];
