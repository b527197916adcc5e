import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProxyView } from "../../contract/control.ts";
import { maxViews, ProxyViews, type ViewPod } from "./views.ts";

const pod = (podUid: string): ViewPod => ({
  namespace: "agents",
  serviceAccount: "invoice-agent",
  pod: podUid,
  podUid,
});

/** A view that holds these rules, `namespace/name` to the bundle's generation. */
function holding(rules: Readonly<Record<string, string>>, activeSessions = 0): ProxyView {
  const connections = Object.entries(rules).map(([connection, bundle]) => ({
    connection,
    bundle,
    activeSessions,
  }));
  return { generation: 1, proxyVersion: "0.1.0", features: [], connections };
}

function listenedTo(): { readonly views: ProxyViews; readonly heard: string[][] } {
  const views = new ProxyViews(() => 0);
  const heard: string[][] = [];
  views.onChange((namespaces) => heard.push([...namespaces].toSorted()));
  return { views, heard };
}

test("who listens hears of a proxy that comes to hold rules, holds others, or holds them no more", () => {
  const { views, heard } = listenedTo();
  views.report(pod("a"), holding({ "shop/orders-db": "g1" }));
  views.report(pod("a"), holding({ "shop/orders-db": "g2" }));
  views.report(pod("a"), holding({ "shop/orders-db": "g2", "models/openai": "g1" }));
  views.report(pod("a"), holding({ "models/openai": "g1" }));
  assert.deepEqual(heard, [["shop"], ["shop"], ["models"], ["shop"]]);
});

test("a pod that goes is told to the namespaces of all that it held, once", () => {
  const { views, heard } = listenedTo();
  views.report(pod("a"), holding({ "shop/orders-db": "g1", "models/openai": "g1" }));
  views.forgetPod("a");
  views.forgetPod("a");
  assert.deepEqual(heard, [
    ["models", "shop"],
    ["models", "shop"],
  ]);
});

test("a report that says what the one before said is no news, whatever its sessions and its order", () => {
  const { views, heard } = listenedTo();
  views.report(pod("a"), holding({ "shop/orders-db": "g1", "models/openai": "g1" }));
  views.report(pod("a"), holding({ "models/openai": "g1", "shop/orders-db": "g1" }, 3));
  views.report(pod("b"), holding({}));
  assert.equal(heard.length, 1);
});

test("a pod that there is no room for is not heard of", () => {
  const { views, heard } = listenedTo();
  for (let at = 0; at < maxViews; at += 1) views.report(pod(`p${at}`), holding({}));
  assert.equal(views.report(pod("late"), holding({ "shop/orders-db": "g1" })), false);
  assert.deepEqual(heard, []);
});
