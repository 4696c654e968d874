/** Posts in the isolate's memory, apart for each credential. */
import { badRequest, json } from "./answers.ts";
import { setBounded } from "./bounded.ts";
import type { Call } from "./routing.ts";

interface Post {
  readonly id: string;
  /** What one request created together; Postiz deletes it together. */
  readonly group: string;
  readonly content: string;
  readonly publishDate: string;
  readonly state: "DRAFT" | "QUEUE";
  readonly integration: { readonly id: string };
}

const MAX_CREDENTIALS = 1000;
const MAX_POSTS_PER_CREDENTIAL = 1000;
const postsByCredential = new Map<string, readonly Post[]>();

/** All of them: Postiz's filter by date would only hide a visitor's own post. */
export function listPosts(credential: string): readonly Post[] {
  return postsByCredential.get(credential) ?? [];
}

export function createPosts({ credential, body }: Call): Response {
  const drafts = member(body, "posts");
  if (!Array.isArray(drafts) || drafts.length === 0) return badRequest(["posts should not be empty"]);

  const group = crypto.randomUUID();
  const created = drafts.map((draft) => toPost(draft, body, group));
  const kept = [...listPosts(credential), ...created].slice(-MAX_POSTS_PER_CREDENTIAL);
  setBounded(postsByCredential, credential, kept, MAX_CREDENTIALS);
  return json(
    201,
    created.map(({ id, integration }) => ({ postId: id, integration: integration.id })),
  );
}

/** Postiz says `error: true` for a success, and so does this. */
export function deletePost({ credential, params }: Call): Response {
  const posts = listPosts(credential);
  const group = posts.find(({ id }) => id === params[0])?.group;
  const kept = posts.filter((post) => post.group !== group);
  setBounded(postsByCredential, credential, kept, MAX_CREDENTIALS);
  return json(200, { error: true });
}

function toPost(draft: unknown, request: unknown, group: string): Post {
  const value = member(draft, "value");
  return {
    id: crypto.randomUUID(),
    group,
    content: text(member(Array.isArray(value) ? value[0] : undefined, "content")),
    publishDate: text(member(request, "date")),
    state: member(request, "type") === "draft" ? "DRAFT" : "QUEUE",
    integration: { id: text(member(member(draft, "integration"), "id")) },
  };
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
