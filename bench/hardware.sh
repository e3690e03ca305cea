#!/usr/bin/env bash
# The whole campaign on a host with a GPU, under 20 minutes: correctness in both presets, products, attention, training
# steps, generation, first steps, scaling, all with torch and WebGPU libraries beside them where these are installed.
#
#   bench/hardware.sh [FOLDER]      results go to FOLDER, else to $OUT, else to bench/results/hardware
#
# Run it in a checkout after `npm ci` and, for the peers, `npm --prefix bench/peers ci` and a Python with torch. Every part
# has its own time limit, log and result file, which fills row by row, so that one that hangs loses nothing else; parts.csv
# says how each ended. Afterwards, tables.md and pictures are drawn from all results.
#   UNCOUPLE_ADAPTER   the adapter (default here: gpu)
#   PARTS="a b"        only parts whose names begin so
#   SECONDS_IN_ALL     when to stop (default 1170)
#   TRIAL=1            small shapes and few tests: runs every part of the script within minutes on any adapter
set -u
cd "$(dirname "$0")/.." || exit 1
out=${1:-${OUT:-bench/results/hardware}}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export UNCOUPLE_ADAPTER=${UNCOUPLE_ADAPTER:-gpu}
export CI=1
budget=${SECONDS_IN_ALL:-1170}
# left for tables and pictures
reserve=20
failed=0
results=()
small=()
tests=(test/kernels test/model test/optim test/autograd)
if [ -n "${TRIAL:-}" ]; then
  small=(--quick)
  tests=(test/autograd test/optim)
fi
echo "part,exit_code,seconds" > "$out/parts.csv"

wanted() {
  [ -z "${PARTS:-}" ] && return 0
  local word
  for word in $PARTS; do case "$1" in "$word"*) return 0 ;; esac done
  return 1
}

# part NAME SECONDS COMMAND...: exit codes 124 and 137 mean that it ran out of time, "skipped" that none was left
part() {
  local name=$1 limit=$2 start=$SECONDS left=$((budget - reserve - SECONDS)) code
  shift 2
  wanted "$name" || return 0
  if [ "$left" -lt 10 ]; then
    echo "== $name: no time left"
    echo "$name,skipped,0" >> "$out/parts.csv"
    failed=1
    return 0
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  echo "== $name (at most $limit s, $SECONDS s gone)"
  timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 < /dev/null
  code=$?
  echo "$name,$code,$((SECONDS - start))" >> "$out/parts.csv"
  if [ "$code" -ne 0 ]; then
    failed=1
    echo "   exit code $code:"
    tail -n 3 "$out/$name.log"
  fi
}

# bench NAME SECONDS ARGUMENTS...
bench() {
  local name=$1 limit=$2
  shift 2
  wanted "$name" || return 0
  rm -f "$out/$name.json"
  part "$name" "$limit" node bin/uncouple.js bench "$@" "${small[@]}" --preset "${preset:-fast}" --save "$out/$name.json"
  [ -f "$out/$name.json" ] && results+=(--from "$out/$name.json")
}

torch=(--peer torch-eager torch-compiled)
webgpu=(--peer torch-eager tfjs-webgpu jax-js-webgpu onnxruntime-webgpu)
squares='^(512|1024|2048|4096)x'
own='^(nano|small|tiny)'
published='^qwen2.5-0.5b'
mixed=(--precision mixed --matmul f16)

part build 60 npm run build
part doctor 30 node bin/uncouple.js doctor --json
part tune 60 node bin/uncouple.js bench --tune --preset fast --json
part tests_checked 150 env UNCOUPLE_PRESET=checked npx vitest run "${tests[@]}"
part tests_fast 120 env UNCOUPLE_PRESET=fast npx vitest run "${tests[@]}"

# ours alone first: a library that hangs would take our rows of its part along
bench products 40 matmul --shape "$squares" --repeats 9
bench products_f16 30 matmul --shape "$squares" --matmul f16 --repeats 9
bench products_split 30 matmul --shape "$squares" --matmul split_f16 --repeats 9
bench attention 30 attention --repeats 9
bench training 30 training_step --shape "$own" --repeats 9
bench training_mixed 30 training_step --shape "$own" "${mixed[@]}" --repeats 9
bench training_published 60 training_step --shape "$published" --repeats 7
bench training_published_mixed 60 training_step --shape "$published" "${mixed[@]}" --repeats 7
bench rollout_published 60 rollout --shape "$published.* B(1|2|8|64) " --repeats 5
bench rollout_published_mixed 60 rollout --shape "$published.* B(1|2|8|64) " "${mixed[@]}" --repeats 5
bench rollout 40 rollout --shape "$own" --repeats 5
bench first_step 40 first_step
bench scaling 120 scaling
bench kernels 60 kernels --repeats 7

bench torch_products 60 matmul --shape "$squares" --repeats 7 "${torch[@]}"
bench torch_products_f16 45 matmul --shape "$squares" --matmul f16 --repeats 7 "${torch[@]}"
bench torch_products_split 45 matmul --shape "$squares" --matmul split_f16 --repeats 7 "${torch[@]}"
bench torch_attention 45 attention --repeats 7 "${torch[@]}"
bench torch_training 60 training_step --shape "$own" --repeats 7 "${torch[@]}"
bench torch_training_mixed 60 training_step --shape "$own" "${mixed[@]}" --repeats 7 "${torch[@]}"
bench torch_published 90 training_step --shape "$published" --repeats 5 --peer torch-eager
bench torch_published_mixed 90 training_step --shape "$published" "${mixed[@]}" --repeats 5 --peer torch-eager
preset=checked bench checked 45 matmul,attention,training_step --shape '^(1024x1024|N|nano|small|tiny)' --repeats 7
# libraries of browsers last: they are slow, and may take the device with them
bench peers_products 45 matmul --shape '^(512|1024|2048)x' --repeats 5 "${webgpu[@]}"
bench peers_attention 30 attention --repeats 5 "${webgpu[@]}"
bench peers_training 60 training_step --shape "$own" --repeats 5 "${webgpu[@]}"

# of a measurement that two parts have, tables take the later one's: that has libraries beside it
ordered=()
for ((at = ${#results[@]} - 1; at > 0; at -= 2)); do ordered+=(--from "${results[at]}"); done
if [ ${#ordered[@]} -gt 0 ]; then
  budget=$((SECONDS + 2 * reserve))
  part tables 20 node bin/uncouple.js bench "${ordered[@]}" --markdown --save "$out/all.json" \
    --svg "$out/page.svg" --roofline "$out/roofline.svg" --curves "$out/curves.svg"
  [ -f "$out/tables.log" ] && grep '^|' "$out/tables.log" > "$out/tables.md"
fi
cat << TEXT
results: $out
Into the repository: node bin/uncouple.js bench --from $out/all.json --save
Into the texts, from bench/results: see docs/performance.md
TEXT
exit "$failed"
