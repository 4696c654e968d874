/** The origin of `--crowd`, as a process of its own; says its port to whoever has started it. */
import { Origin } from "./origin.ts";

const port = await new Origin().start();
process.send?.({ port });
process.on("disconnect", () => process.exit(0));
