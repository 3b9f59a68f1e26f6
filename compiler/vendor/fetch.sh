#!/usr/bin/env bash
# Fetches the JavaScript libraries that `graver report` puts into its pages, at the versions given here, and checks them
# against SHA256SUMS. The files are committed; this shows where they come from.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in d3@7.9.0 @dagrejs/dagre@3.1.3; do
    (cd "$work" && npm pack --silent "$package" >/dev/null)
done
mkdir "$work/d3" "$work/dagre"
tar -xzf "$work"/d3-*.tgz -C "$work/d3"
tar -xzf "$work"/dagrejs-dagre-*.tgz -C "$work/dagre"
cp "$work/d3/package/dist/d3.min.js" d3.min.js
cp "$work/d3/package/LICENSE" d3.LICENSE
cp "$work/dagre/package/dist/dagre.min.js" dagre.min.js
cp "$work/dagre/package/LICENSE" dagre.LICENSE
cp "$work/dagre/package/dist/dagre.min.js.LEGAL.txt" dagre.min.js.LEGAL.txt
sha256sum --check SHA256SUMS
