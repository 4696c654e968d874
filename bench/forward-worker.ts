/** The least a gateway on this runtime could do: the bare forward that everything is compared with. */
interface ForwardEnv {
  readonly ORIGIN_URL: string;
}

export default {
  fetch(request, { ORIGIN_URL }) {
    const { pathname, search } = new URL(request.url);
    return fetch(new Request(ORIGIN_URL + pathname + search, request));
  },
} satisfies ExportedHandler<ForwardEnv>;
