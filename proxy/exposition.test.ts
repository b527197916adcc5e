import assert from "node:assert/strict";
import { test } from "node:test";
import { Counter, Gauge, Registry } from "prom-client";
import { contentType, exposition, type Family } from "./exposition.ts";

const odd = 'a "quoted" \\ and\nbroken';

test("what is written is what the usual library writes, odd label values included", async () => {
  const registry = new Registry();
  const registers = [registry];
  const counter = new Counter({ name: "a_total", help: "A.", labelNames: ["x", "y"], registers });
  counter.inc({ x: odd, y: "1" }, 3);
  counter.inc({ x: "", y: "2" }, 0.25);
  new Gauge({ name: "b", help: "B.", registers }).set(1.5e21);
  const families: readonly Family[] = [
    {
      name: "a_total",
      help: "A.",
      type: "counter",
      samples: () => [
        { labels: { x: odd, y: "1" }, value: 3 },
        { labels: { x: "", y: "2" }, value: 0.25 },
      ],
    },
    { name: "b", help: "B.", type: "gauge", samples: () => [{ value: 1.5e21 }] },
  ];
  assert.equal(exposition(families), await registry.metrics());
  assert.equal(contentType, registry.contentType);
});
