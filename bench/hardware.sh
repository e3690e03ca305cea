#!/usr/bin/env bash
# A campaign on a host with a GPU, in two halves that need nothing of each other, at most six minutes each:
#   bench/hardware.sh A [FOLDER]   correctness in both presets, products with the self-test of matrix hardware, attention, peaks
#   bench/hardware.sh B [FOLDER]   training steps, generation, iterations of RL, with torch beside them; browsers' libraries last
# Results go to FOLDER, else to $OUT, else to bench/results/hardware; both halves may share it. What is worth most comes first.
#
# Run it in a checkout after `npm ci` and, for the peers, `npm --prefix bench/peers ci` and a Python with torch. Every part has its
# own time limit, log and result file. A file holds every row from the moment that it is measured, so a half that is
# stopped is a result, too; parts_A.csv and parts_B.csv say how each part ended. At its end each half draws tables and
# pictures from all results of the folder.
#   UNCOUPLE_ADAPTER   the adapter (default here: gpu)
#   PARTS="a b"        only parts whose names begin so
#   SECONDS_IN_ALL     when to stop (default 350)
#   TRIAL=1            small shapes and few tests: runs every part of a half within minutes on any adapter
set -u
cd "$(dirname "$0")/.." || exit 1
half=${1:-}
case "$half" in
  A | B) ;;
  *) echo "[hardware] which half: got '$half', expected A or B. Run bench/hardware.sh A, and bench/hardware.sh B." >&2; exit 2 ;;
esac
out=${2:-${OUT:-bench/results/hardware}}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export UNCOUPLE_ADAPTER=${UNCOUPLE_ADAPTER:-gpu}
export CI=1
budget=${SECONDS_IN_ALL:-350}
# left for tables and pictures
reserve=15
failed=0
small=()
tests=(test/kernels test/model test/optim test/autograd)
if [ -n "${TRIAL:-}" ]; then
  small=(--quick)
  tests=(test/autograd test/optim)
fi
parts="$out/parts_$half.csv"
echo "part,exit_code,seconds" > "$parts"

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
    echo "$name,skipped,0" >> "$parts"
    failed=1
    return 0
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  echo "== $name (at most $limit s, $SECONDS s gone)"
  timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 < /dev/null
  code=$?
  echo "$name,$code,$((SECONDS - start))" >> "$parts"
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
}

torch=(--peer torch-eager torch-compiled)
webgpu=(--peer torch-eager tfjs-webgpu jax-js-webgpu onnxruntime-webgpu)
squares='^(512|1024|2048|4096)x'
own='^(nano|small|tiny)'
published='^qwen2.5-0.5b'
mixed=(--precision mixed --matmul f16)

# each test's result is in the log as soon as it is known
correctness() {
  part "tests_$1" "$2" env UNCOUPLE_PRESET="$1" npx vitest run --reporter=verbose "${tests[@]}"
}

half_a() {
  part doctor 20 node bin/uncouple.js doctor --json
  bench products 40 matmul --shape "$squares" --repeats 9
  correctness checked 100
  # the self-test of matrix hardware runs before the first of these rows
  bench products_f16 30 matmul --shape "$squares" --matmul f16 --repeats 9
  bench products_split 30 matmul --shape "$squares" --matmul split_f16 --repeats 9
  bench attention 30 attention --repeats 9
  correctness fast 80
  bench torch_products 40 matmul --shape "$squares" --repeats 5 "${torch[@]}"
  bench torch_attention 30 attention --repeats 5 "${torch[@]}"
  bench kernels 40 kernels --repeats 5
  part tune 40 node bin/uncouple.js bench --tune --preset fast --json
}

# Whole iterations of RL: metrics.jsonl of the run has a row for each, as it is done.
rl_iterations() {
  local steps=8
  [ -n "${TRIAL:-}" ] && steps=2
  rm -rf "$out/runs/rl_iterations"
  part rl_iterations "$1" node bin/uncouple.js train -c configs/household.yaml --preset fast --name rl_iterations \
    --out "$out/runs" imitation.max_steps=20 "grpo.max_steps=$steps" grpo.warmup_steps=0 "eval.modes=[greedy]" eval.episodes=8 \
    eval.at_start=false
}

half_b() {
  bench training 30 training_step --shape "$own" --repeats 9
  bench training_published 45 training_step --shape "$published" --repeats 5
  rl_iterations 45
  bench rollout_published 40 rollout --shape "$published.* B(1|2|8|64) " --repeats 3
  # ours alone first: a library that hangs would take our rows of its part along
  bench torch_training 45 training_step --shape "$own" --repeats 5 "${torch[@]}"
  bench torch_published 45 training_step --shape "$published" --repeats 3 --peer torch-eager
  bench training_mixed 30 training_step --shape "$own" "${mixed[@]}" --repeats 9
  bench training_published_mixed 40 training_step --shape "$published" "${mixed[@]}" --repeats 5
  bench rollout 30 rollout --shape "$own" --repeats 5
  bench rollout_published_mixed 40 rollout --shape "$published.* B(1|2|8|64) " "${mixed[@]}" --repeats 3
  bench torch_published_mixed 45 training_step --shape "$published" "${mixed[@]}" --repeats 3 --peer torch-eager
  bench first_step 30 first_step
  bench scaling 40 scaling
  # they are slow, and may take the device with them
  bench peers_products 40 matmul --shape '^(512|1024|2048)x' --repeats 3 "${webgpu[@]}"
  bench peers_training 40 training_step --shape "$own" --repeats 3 "${webgpu[@]}"
}

[ -f dist/src/cli/main.js ] || part build 60 npm run build
if [ "$half" = A ]; then half_a; else half_b; fi

# of a measurement that two files have, tables take the one given last: that has libraries beside it
from=()
for names in first_step scaling kernels 'rollout*' 'training*' 'products*' attention 'torch_*' 'peers_*'; do
  for file in "$out"/$names.json; do
    [ -f "$file" ] && from+=(--from "$file")
  done
done
if [ ${#from[@]} -gt 0 ]; then
  budget=$((SECONDS + 2 * reserve))
  part tables "$reserve" node bin/uncouple.js bench "${from[@]}" --markdown --save "$out/all.json" \
    --svg "$out/page.svg" --roofline "$out/roofline.svg" --curves "$out/curves.svg"
  [ -f "$out/tables.log" ] && grep '^|' "$out/tables.log" > "$out/tables.md"
fi
cat << TEXT
results: $out
Into the repository: node bin/uncouple.js bench --from $out/all.json --save
Into the texts, from bench/results: see docs/performance.md
TEXT
exit "$failed"
