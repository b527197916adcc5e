import assert from "node:assert/strict";
import { test } from "node:test";
import { readConfig } from "./config.ts";

const enough = {
  CHAPERONE_NAMESPACE: "chaperone-system",
  CHAPERONE_POD: "chaperone-1",
  CHAPERONE_PROXY_IMAGE: "proxy:1",
};

test("what the chart need not say has a default", () => {
  const config = readConfig(enough);
  assert.equal(config.service, "chaperone");
  assert.deepEqual(config.listen, {
    host: "0.0.0.0",
    apiPort: 8443,
    webhookPort: 9443,
    healthPort: 8080,
  });
  assert.equal(config.checksPeerAddress, true);
  assert.equal(readConfig({ ...enough, CHAPERONE_POD_IP: "fd00::7" }).listen.host, "::");
  assert.deepEqual(
    readConfig({ ...enough, CHAPERONE_PROXY_EARLIER_IMAGES: "proxy:0.9, proxy:0.8," }).proxy
      .earlierImages,
    ["proxy:0.9", "proxy:0.8"],
  );
});

test("everything that is missing or wrong is named at once", () => {
  assert.throws(
    () =>
      readConfig({
        CHAPERONE_POD: "",
        CHAPERONE_API_PORT: "0",
        CHAPERONE_CHECK_PEER_ADDRESS: "no",
      }),
    /CHAPERONE_NAMESPACE is not set; CHAPERONE_POD is not set; CHAPERONE_PROXY_IMAGE is not set; CHAPERONE_CHECK_PEER_ADDRESS is "no".*CHAPERONE_API_PORT is "0"/,
  );
});
