#!/usr/bin/env bash
# Peak memory and tokens per second of training at full size, with random weights, for the rows of the
# Python project's memory tables that one card can run; beside PyTorch where its code is given.
#
#   GLMTUNE=target/release/glmtune BACKEND=cuda benches/full-size/run.sh WORK_DIR
#
# MODELS     presets of `glmtune init`                    (chatglm-6b chatglm2-6b)
# TOKENIZERS folder with each preset's published tokenizer; without it a model has a small vocabulary, and
#            is smaller than the published one
# DTYPES     compute types                                (bf16 f16)
# LENGTHS    tokens of a row, the last third with targets (1560)
# STEPS      steps of a run; the first is not timed       (4)
# PUBLISHED  folder with each preset's published Python code: then `pytorch.py` runs the same rows
#
# A trial without a GPU: MODELS=100m DTYPES=f32 BACKEND=flex LENGTHS=256 benches/full-size/run.sh /tmp/trial
set -euo pipefail
work=${1:?usage: run.sh WORK_DIR}
here=$(cd "$(dirname "$0")" && pwd)
glmtune=${GLMTUNE:-$here/../../target/release/glmtune}
backend=${BACKEND:-cuda}
steps=${STEPS:-4}
mkdir -p "$work"

# Rows of ids, with the special tokens that ChatGLM-6B's positions depend on: a mask token, then <sop>.
rows() { # preset, length
    local config=$work/$1/config.json
    local vocabulary gmask bos
    vocabulary=$(number vocab_size "$config")
    gmask=$(number gmask_token_id "$config")
    bos=$(number bos_token_id "$config")
    awk -v n="$2" -v count="$steps" -v vocabulary="$vocabulary" -v gmask="$gmask" -v bos="$bos" 'BEGIN {
        context = int(n * 2 / 3)
        for (row = 0; row < count; row++) {
            ids = labels = ""
            for (i = 0; i < n; i++) {
                id = 10 + (i * 7919 + row * 104729) % (vocabulary > 5000 ? 5000 : 200)
                if (gmask && i == context - 2) id = gmask
                if (gmask && i == context - 1) id = bos
                ids = ids (i ? ", " : "") id
                labels = labels (i ? ", " : "") (i < context ? -100 : id)
            }
            print "{\"input_ids\": [" ids "], \"labels\": [" labels "]}"
        }
    }'
}

# The card's memory in use, in MiB, as often as it tells; its maximum goes to a file.
watch_card() { # file
    local most=0 now
    while now=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 0 2>/dev/null); do
        if ((now > most)); then most=$now && echo "$most" >"$1"; fi
        sleep 0.1
    done
}

# A number in a configuration; nothing if it is not there.
number() { sed -n "s/.*\"\(padded_\)\{0,1\}$1\": *\([0-9]*\).*/\2/p" "$2" | head -n 1; }

field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$2"; }

train() { # name, preset, length, dtype, flags…
    local name=$1 preset=$2 length=$3 dtype=$4
    shift 4
    local out=$work/out rows=$work/rows-$preset-$length.jsonl card=$work/card
    rm -rf "$out" "$card"
    watch_card "$card" &
    local watcher=$!
    if ! /usr/bin/time -f %M -o "$work/rss" "$glmtune" train --model_name_or_path "$work/$preset" \
        --train_path "$rows" --output_dir "$out" --backend "$backend" --dtype "$dtype" --no_cache --no_shuffle \
        --max_len "$length" --max_src_len $((length * 2 / 3)) --per_device_train_batch_size 1 \
        --num_train_epochs 1 --no_dashboard "$@" >"$work/log" 2>&1; then
        kill "$watcher" 2>/dev/null || true
        printf '| %s | %s | %s | failed: %s |\n' "$preset" "$name" "$dtype" "$(tail -n 1 "$work/log")"
        return
    fi
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    local memory speed
    memory=$(field memory_bytes "$out/metrics.jsonl" | sort -n | tail -n 1)
    speed=$(paste <(field tokens "$out/metrics.jsonl") <(field seconds "$out/metrics.jsonl") |
        awk 'NR > 1 { tokens += $1; seconds += $2 } END { if (seconds) printf "%.0f", tokens / seconds }')
    printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$preset" "$name" "$dtype" "$length" \
        "$((memory >> 20))" "$(cat "$card" 2>/dev/null || echo -)" "$(($(tail -n 1 "$work/rss") >> 10))" "$speed"
}

pytorch() { # preset, length, dtype
    [ -n "${PUBLISHED:-}" ] || return 0
    local method
    for method in lora ptuning freeze all; do
        for checkpointing in '' --gradient_checkpointing; do
            python3 "$here/pytorch.py" --code "$PUBLISHED/$1" --model "$work/$1" --dtype "$3" --method "$method" \
                --rows "$work/rows-$1-$2.jsonl" $checkpointing || true
        done
    done
}

echo '| model | method | type | length | in use at a step, MiB | card, peak MiB | process, peak MiB | tokens/s |'
echo '|---|---|---|---|---|---|---|---|'
for preset in ${MODELS:-chatglm-6b chatglm2-6b}; do
    if [ ! -d "$work/$preset" ]; then
        tokenizer=()
        if [ -n "${TOKENIZERS:-}" ]; then tokenizer=(--tokenizer "$TOKENIZERS/$preset"); fi
        "$glmtune" init --preset "$preset" "${tokenizer[@]}" --output "$work/$preset" >/dev/null 2>&1
    fi
    layers=$(number num_layers "$work/$preset/config.json")
    last=$(for i in 1 2 3 4 5; do printf 'layers.%d.,' $((layers - i)); done)
    for length in ${LENGTHS:-1560}; do
        rows "$preset" "$length" >"$work/rows-$preset-$length.jsonl"
        for dtype in ${DTYPES:-bf16 f16}; do
            run() { train "$1" "$preset" "$length" "$dtype" "${@:2}"; }
            run 'LoRA, checkpointed' --train_type lora --lora_dim 16 --gradient_checkpointing
            run 'LoRA' --train_type lora --lora_dim 16
            run 'LoRA, offloaded parameters' --train_type lora --lora_dim 16 --offload_param
            run 'P-Tuning v2, checkpointed' --train_type ptuning --pre_seq_len 16 --gradient_checkpointing
            run 'P-Tuning v2' --train_type ptuning --pre_seq_len 16
            run 'freeze, checkpointed' --train_type freeze --freeze_module_name "$last" --gradient_checkpointing
            run 'freeze' --train_type freeze --freeze_module_name "$last"
            run 'all, optimizer offloaded, checkpointed' --train_type all --offload_optimizer --gradient_checkpointing
            run 'all, all offloaded' --train_type all --offload_optimizer --offload_param
            pytorch "$preset" "$length" "$dtype"
        done
    done
done
