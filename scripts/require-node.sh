#!/bin/sh
# Node 20 or later is enough to install; everything else runs on the Node 24 that npm brings along.
major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
if [ "$major" -lt 20 ]; then
  echo "chaperone: Node.js 20 or later and npm are needed (found: $(node --version 2>/dev/null || echo none))" >&2
  exit 1
fi
