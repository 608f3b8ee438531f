#!/usr/bin/env bash
# Tokens of rows per second of a LoRA training (rank 16, float32): rows one by one, in padded micro-batches, and packed, in
# turn within one run. Bash and Python 3.
#
#   GLMTUNE=target/release/glmtune benches/packing/run.sh MODEL_DIR ROWS.json WORK_DIR
#
# BACKEND  backend                                                        (flex)
# MODE     row layout                                                     (glm2)
# MAX_LEN  most tokens of a row and of a packed sequence                  (1560)
# ROUNDS   rounds of all ways                                             (3)
# WAYS     names of ways below                                            (one padded-4 padded-8 packed)
# TOKENS   tokens of rows that each run is to have at least, about        (6000)
# FLAGS    more flags of `glmtune train`
#
# The first step of each run is not counted: memory and kernels are made in it. Padding is a part of what is computed,
# but not of the tokens.
set -euo pipefail
model=${1:?usage: run.sh MODEL_DIR ROWS.json WORK_DIR}
rows=${2:?usage: run.sh MODEL_DIR ROWS.json WORK_DIR}
work=${3:?usage: run.sh MODEL_DIR ROWS.json WORK_DIR}
here=$(cd "$(dirname "$0")" && pwd)
glmtune=${GLMTUNE:-$here/../../target/release/glmtune}
tokens=${TOKENS:-6000}
max_len=${MAX_LEN:-1560}
mkdir -p "$work"

flags() { # way, tokens of the mean row
    case $1 in
    one) echo "--per_device_train_batch_size 1 --max_steps $((1 + tokens / $2))" ;;
    padded-*) echo "--per_device_train_batch_size ${1#*-} --max_steps $((2 + tokens / $2 / ${1#*-}))" ;;
    packed) echo "--packing --per_device_train_batch_size 1 --max_steps $((2 + tokens / max_len))" ;;
    *) echo "no way of training: $1" >&2 && return 2 ;;
    esac
}

train() { # output, flags…
    local output=$1
    shift
    "$glmtune" train --model_name_or_path "$model" --train_path "$rows" --output_dir "$output" --mode "${MODE:-glm2}" \
        --backend "${BACKEND:-flex}" --dtype f32 --train_type lora --lora_dim 16 --max_len "$max_len" \
        --max_src_len $((max_len * 2 / 3)) --cache_dir "$work/cache" --no_dashboard "$@" ${FLAGS:-}
}

# Tokens and rows as the summary counts them.
said=$(train "$work/none" --dry_run)
mean=$(echo "$said" | python3 -c '
import re, sys
said = sys.stdin.read()
print(round(int(re.search(r"^tokens: (\d+)", said, re.M)[1]) / int(re.search(r"^rows: (\d+)", said, re.M)[1])))')
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    for way in ${WAYS:-one padded-4 padded-8 packed}; do
        read -ra own < <(flags "$way" "$mean")
        output=$work/$way-$round
        [ -e "$output/metrics.jsonl" ] || train "$output" "${own[@]}" >"$output.log" 2>&1
        rm -rf "$output"/epoch-* "$output/checkpoint"
    done
done
python3 - "$work" <<'PYTHON'
import collections, json, pathlib, re, statistics, sys

speeds, shares = collections.defaultdict(list), {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/metrics.jsonl")):
    steps = [json.loads(line) for line in path.read_text().splitlines()][1:]
    way = path.parent.name.rsplit("-", 1)[0]
    tokens = sum(step["tokens"] for step in steps)
    speeds[way].append(tokens / sum(step["seconds"] for step in steps))
    shares[way] = re.search(r"padding: ([\d.]+ %)", path.parent.with_suffix(".log").read_text())[1]
first = speeds.get("one")
for way, found in speeds.items():
    ratios = [a / b for a, b in zip(found, first or found)]
    print(f"{way:10} padding {shares[way]:>7}  tokens/s {' '.join(f'{speed:7.1f}' for speed in found)}"
          f"  times one row {' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {statistics.median(ratios):.2f}")
PYTHON
