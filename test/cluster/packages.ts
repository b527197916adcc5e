/** Sees to it that the Debian packages the local node stands on are installed. */
import { command, succeeds } from "./command.ts";
import type { Report } from "./command.ts";

const PACKAGES = [
  "containerd", // runs the containers
  "runc", // starts them
  "containernetworking-plugins", // gives each pod its address
  "etcd-server", // stores the cluster
  "nftables", // kube-proxy's Services
  "iproute2", // addresses and routes of the node
  "openssl", // certificates
  "buildah", // builds images
  "debootstrap", // makes the base image
  "debian-archive-keyring", // proves what debootstrap fetched
] as const;

const INSTALL_TIMEOUT_MS = 10 * 60_000;

export async function installPackages(report: Report): Promise<void> {
  const missing: string[] = [];
  for (const name of PACKAGES) {
    if (!(await isInstalled(name))) missing.push(name);
  }
  if (missing.length === 0) return;
  if (!(await succeeds("apt-get", ["--version"]))) {
    throw new Error(
      `the local cluster needs Debian or Ubuntu with these packages: ${missing.join(", ")}; elsewhere use CLUSTER=kind`,
    );
  }
  report(`installing ${missing.join(", ")}`);
  const quiet = { timeoutMs: INSTALL_TIMEOUT_MS, env: { DEBIAN_FRONTEND: "noninteractive" } };
  await command("apt-get", ["update"], quiet);
  await command("apt-get", ["install", "-y", "--no-install-recommends", ...missing], quiet);
}

async function isInstalled(name: string): Promise<boolean> {
  try {
    return (await command("dpkg-query", ["-W", "-f=${Status}", name])).endsWith("ok installed");
  } catch {
    return false; // dpkg-query fails for a name it has never heard of
  }
}
