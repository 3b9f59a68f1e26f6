#!/usr/bin/env bash
# Writes the pages of the gallery: ten models from their sizes alone, on an assumed machine, so that the same program gives the same
# pages everywhere. Usage: docs/gallery/build.sh [GRAVER], the program being the release build of this checkout if it is not given.
set -euo pipefail
cd "$(dirname "$0")"
graver=${1:-../../target/release/graver}
while read -r spec preset; do
    "$graver" report "$spec" --preset "$preset" --gbps 60 --gflops 1000 -o "$spec-$preset.html"
done <<'MODELS'
llama 3.1-8b
olmo3 32b
gemma3 27b
gpt_oss 120b
qwen3_moe 235b-a22b
llama4 maverick
deepseek_v3 671b
qwen3_next 80b-a3b
kimi_linear 48b-a3b
nemotron_h 8b
MODELS
