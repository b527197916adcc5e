// The pool of undici by its own file: the package's index also loads fetch, WebSocket and caches, which cost every pod 4 MB and are not used here.
declare module "undici/lib/dispatcher/pool.js" {
  import type { Pool as UndiciPool } from "undici";
  const Pool: typeof UndiciPool;
  type Pool = UndiciPool;
  export default Pool;
}
