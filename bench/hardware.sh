#!/usr/bin/env bash
# The whole campaign on a host with a GPU, under 20 minutes: benchmarks, correctness in both presets, peers, torch.
#
#   bench/hardware.sh [FOLDER]      results go to FOLDER, else to $OUT, else to bench/results/hardware
#
# Run it in a checkout after `npm ci` and, for the peers, `npm --prefix bench/peers ci`. Every part has its own time
# limit, log and result file, so that one which hangs does not lose the rest; parts.csv says how each ended.
# UNCOUPLE_ADAPTER chooses the adapter (default here: gpu). PARTS="bench torch" runs only parts whose names begin so.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${1:-${OUT:-bench/results/hardware}}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export UNCOUPLE_ADAPTER=${UNCOUPLE_ADAPTER:-gpu}
export CI=1
failed=0
echo "part,exit_code,seconds" > "$out/parts.csv"

wanted() {
  [ -z "${PARTS:-}" ] && return 0
  local word
  for word in $PARTS; do case "$1" in "$word"*) return 0 ;; esac done
  return 1
}

# part NAME SECONDS COMMAND...: exit codes 124 and 137 mean that it ran out of time
part() {
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  wanted "$name" || return 0
  echo "== $name (at most $limit s)"
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
  part "$name" "$limit" node bin/uncouple.js bench "$@" --save "$out/$name.json"
}

tests=(test/kernels test/model test/optim test/autograd)
part build 60 npm run build
part doctor 30 node bin/uncouple.js doctor --json
part tune 60 node bin/uncouple.js bench --tune --json --preset fast
# the figures that matter most come first
bench bench_training 60 training_step --preset fast
bench bench_products 120 matmul,linear --preset fast
bench bench_products_f16 40 matmul --preset fast --matmul f16
bench bench_products_split 40 matmul --preset fast --matmul split_f16
bench bench_attention 60 attention --preset fast
bench bench_rollout 60 rollout --preset fast
part tests_checked 180 env UNCOUPLE_PRESET=checked npx vitest run "${tests[@]}"
part tests_fast 120 env UNCOUPLE_PRESET=fast npx vitest run "${tests[@]}"
for op in training_step matmul attention; do
  bench "torch_$op" 60 "$op" --preset fast --repeats 7 --peer torch-eager torch-compiled
  bench "peers_$op" 45 "$op" --preset fast --repeats 7 --peer tfjs-webgpu jax-js-webgpu onnxruntime-webgpu
done
bench bench_checked 60 --preset checked --repeats 7

saved=()
for file in "$out"/*_*.json; do [ -f "$file" ] && saved+=(--from "$file"); done
if [ ${#saved[@]} -gt 0 ]; then
  part page 20 node bin/uncouple.js bench "${saved[@]}" --markdown --svg "$out/page.svg" --roofline "$out/roofline.svg"
fi
echo "results: $out"
exit "$failed"
