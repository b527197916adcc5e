/** The two ways to a test cluster under one name. */
import type { ClusterConfig } from "./config.ts";
import type { Report } from "./command.ts";
import * as kind from "./kind.ts";
import * as local from "./local.ts";

export interface ClusterProvider {
  readonly isUp: (config: ClusterConfig) => Promise<boolean>;
  readonly up: (config: ClusterConfig, report: Report) => Promise<void>;
  readonly down: (config: ClusterConfig, report: Report) => Promise<void>;
}

export function providerOf(config: ClusterConfig): ClusterProvider {
  return config.provider === "kind" ? kind : local;
}
