#!/usr/bin/env bash
# What one training step of ChatGLM2-6B asks of a CUDA device, counted without a GPU and without arithmetic: kernel
# launches, synchronisations, bytes over the bus, and the most that the pools take of the device's memory.
#
#   cargo build --release --features cuda
#   benches/cuda-counts/run.sh WORK_DIR
#
# Needs g++ 12 and NVIDIA's compiler from PyPI: `python3 -m pip download` of the wheels below, some 130 MB, if WORK_DIR
# does not have it yet. The model is a sparse file of zeros. The counts of a step are the difference between a run of
# three steps and one of one step; the peak is that of the longer run, loading included.
#
# GLMTUNE    the program                                      (target/release/glmtune)
# METHODS    names of methods below                           (all but `full` and those that cards share out)
# BLOCKS     blocks of the model                              (28)
# VOCABULARY rows of its embeddings and of its output layer   (65024)
# LENGTH     tokens of a row, the last third with targets     (1560)
# CARD       GiB of each device's memory                      (24)
# CARDS      devices, each with a row of every step           (1); all but the peaks is then for each of them
# FLAGS      more flags of `glmtune train`, such as --no_fused
#
# `lora-shared` and `full-shared` share the weights out to the cards (ZeRO-3) and want several; what NCCL counts of a
# copied part is the part, and as many zeros that go the other way.
#
# `full` holds float32 masters, moments and gradients of everything in the host's memory, 18 bytes a parameter: on a
# small machine count one and two blocks of a small vocabulary, and add the difference for each further block.
set -euo pipefail
work=${1:?usage: run.sh WORK_DIR}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
glmtune=${GLMTUNE:-$root/target/release/glmtune}
blocks=${BLOCKS:-28}
vocabulary=${VOCABULARY:-65024}
length=${LENGTH:-1560}
cards=${CARDS:-1}
mkdir -p "$work"
work=$(cd "$work" && pwd)

# NVIDIA's compiler and the headers that kernels include.
toolkit() {
    if [ -d "$work/toolkit/include" ]; then return; fi
    python3 -m pip download --quiet --no-deps --dest "$work/wheels" nvidia-cuda-{nvrtc,runtime,nvcc,cccl}-cu12==12.8.*
    local wheel
    for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/wheels"; done
    mkdir -p "$work/toolkit/include"
    # One after another: each has an __init__.py, and cp does not overwrite what it has just made.
    local part
    for part in runtime nvcc cccl; do cp -r "$work/wheels/nvidia/cuda_$part/include"/* "$work/toolkit/include/"; done
}

# Names and shapes of the published model's tensors.
tensors() {
    echo "transformer.embedding.word_embeddings.weight $vocabulary 4096"
    local block name
    for ((block = 0; block < blocks; block++)); do
        name=transformer.encoder.layers.$block
        echo "$name.input_layernorm.weight 4096"
        echo "$name.self_attention.query_key_value.weight 4608 4096"
        echo "$name.self_attention.query_key_value.bias 4608"
        echo "$name.self_attention.dense.weight 4096 4096"
        echo "$name.post_attention_layernorm.weight 4096"
        echo "$name.mlp.dense_h_to_4h.weight 27392 4096"
        echo "$name.mlp.dense_4h_to_h.weight 4096 13696"
    done
    echo 'transformer.encoder.final_layernorm.weight 4096'
    echo "transformer.output_layer.weight $vocabulary 4096"
}

# A model directory whose weights are a hole in a file: a safetensors header, and zeros that take no disk.
model() { # directory
    if [ -d "$1" ]; then return; fi
    "$glmtune" init --preset tiny --mode glm2 --output "$1.tiny" >/dev/null
    sed -e 's/\("hidden_size":\) *[0-9]*/\1 4096/' -e 's/\("ffn_hidden_size":\) *[0-9]*/\1 13696/' \
        -e "s/\(\"num_layers\":\) *[0-9]*/\1 $blocks/" -e 's/\("num_attention_heads":\) *[0-9]*/\1 32/' \
        -e 's/\("kv_channels":\) *[0-9]*/\1 128/' -e 's/\("multi_query_group_num":\) *[0-9]*/\1 2/' \
        -e "s/\(\"padded_vocab_size\":\) *[0-9]*/\1 $vocabulary/" -i "$1.tiny/config.json"
    rm "$1.tiny"/*.safetensors "$1.tiny"/*.safetensors.index.json
    local header size
    header=$(tensors | awk '{
        elements = $2 * (NF > 2 ? $3 : 1)
        printf "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%.0f,%.0f]}",
            (NR > 1 ? "," : "{"), $1, (NF > 2 ? $2 "," $3 : $2), at, at + 2 * elements
        at += 2 * elements
    } END { print "}" }')
    size=$(tensors | awk '{ bytes += 2 * $2 * (NF > 2 ? $3 : 1) } END { printf "%.0f", bytes }')
    # The header's length comes first, as eight bytes, the lowest first.
    local length=${#header} bytes='' index
    for ((index = 0; index < 8; index++)); do
        bytes+=$(printf '\\x%02x' $((length >> 8 * index & 255)))
    done
    printf "$bytes%s" "$header" >"$1.tiny/model.safetensors"
    truncate -s $((8 + length + size)) "$1.tiny/model.safetensors"
    mv "$1.tiny" "$1"
}

rows() {
    awk -v n="$length" -v rows=$((3 * cards)) 'BEGIN {
        for (row = 0; row < rows; row++) {
            ids = labels = ""
            for (i = 0; i < n; i++) {
                ids = ids (i ? "," : "") 10 + (i * 7919 + row) % 200
                labels = labels (i ? "," : "") (i < n * 2 / 3 ? -100 : 10 + (i * 7919 + row) % 200)
            }
            print "{\"input_ids\":[" ids "],\"labels\":[" labels "]}"
        }
    }'
}

# A number of a trace, by its key; of the first line that has it.
count() { # key, trace
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$2" | head -n 1
}

bytes() { # h2d or d2h, trace
    sed -n "s/^ *\"$1\": {\"count\": [0-9]*, \"bytes\": \([0-9]*\)}.*/\1/p" "$2" | head -n 1
}

summed() { # trace
    sed -n 's/^ *"nccl": {\(.*\)},$/\1/p' "$1" | head -n 1 | grep -o '"bytes": [0-9]*' | awk '{ sum += $2 } END { printf "%.0f", sum }'
}

synchronisations() { # trace
    echo $(($(count stream_syncs "$1") + $(count event_syncs "$1") + $(count context_syncs "$1")))
}

train() { # name, steps, flags…
    local name=$1 steps=$2
    shift 2
    rm -rf "$work/out"
    SOFTWARE_CUDA_TRACE=$work/$name-$steps.json SOFTWARE_CUDA_TIMELINE=$work/$name-$steps.tsv \
        "$root/tests/cuda-device/run.sh" "$work/device" "$glmtune" train --model_name_or_path "$work/model-$blocks-$vocabulary" \
        --train_path "$work/rows.jsonl" --output_dir "$work/out" --backend cuda --devices "$(seq -s , 0 $((cards - 1)))" --dtype bf16 --mode glm2 --no_cache \
        --no_shuffle --max_len "$length" --max_src_len $((length * 2 / 3)) --per_device_train_batch_size 1 \
        --gradient_accumulation_steps 1 --num_train_epochs 1 --no_dashboard --max_steps "$steps" "$@" \
        ${FLAGS:-} >"$work/$name-$steps.log" 2>&1 || { tail -n 5 "$work/$name-$steps.log" >&2 && return 1; }
}

measure() { # name, flags…
    local name=$1
    case " ${METHODS:-lora lora-checkpointed freeze ptuning lora-offloaded} " in *" $name "*) ;; *) return 0 ;; esac
    shift
    local short=$work/$name-1.json long=$work/$name-3.json
    train "$name" 1 "$@" && train "$name" 3 "$@" || return 0
    local step=()
    each() { echo $((($2 - $1) / 2 / cards)); }
    step+=("$(each "$(count launches "$short")" "$(count launches "$long")")")
    step+=("$(each "$(synchronisations "$short")" "$(synchronisations "$long")")")
    step+=("$(each "$(bytes h2d "$short")" "$(bytes h2d "$long")")" "$(each "$(bytes d2h "$short")" "$(bytes d2h "$long")")")
    step+=("$(each "$(summed "$short")" "$(summed "$long")")")
    printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$name" "${step[@]}" \
        "$(awk -v bytes="$(count device_peak "$long")" 'BEGIN { printf "%.2f", bytes / 1e9 }')" \
        "$(awk -v bytes="$(count pinned_peak "$long")" 'BEGIN { printf "%.2f", bytes / 1e9 }')"
}

toolkit
if [ ! -e "$work/device/collectives" ]; then "$root/tests/cuda-device/build.sh" "$work/device"; fi
rows >"$work/rows.jsonl"
model "$work/model-$blocks-$vocabulary"
export CUDA_PATH=$work/toolkit SOFTWARE_CUDA_NVRTC=$work/wheels/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
export SOFTWARE_CUDA_TRIAL=4096 SOFTWARE_CUDA_MEMORY=${CARD:-24} SOFTWARE_CUDA_NO_EXECUTION=1 SOFTWARE_CUDA_READ_ZERO=1 \
    SOFTWARE_CUDA_SKIP_COPIES=1 SOFTWARE_CUDA_DEVICES=$cards
last=$(for i in 1 2 3 4 5; do printf 'layers.%d.,' $((blocks - i)); done)
echo '| method | launches | synchronisations | bytes to the device | bytes to the host | bytes by NCCL | device, peak GB | pinned, peak GB |'
echo '|---|---|---|---|---|---|---|---|'
lora=(--train_type lora --lora_dim 16 --lora_dropout 0.1)
measure lora "${lora[@]}"
measure lora-checkpointed "${lora[@]}" --gradient_checkpointing
measure lora-offloaded "${lora[@]}" --offload_param
measure freeze --train_type freeze --freeze_module_name "$last"
measure freeze-checkpointed --train_type freeze --freeze_module_name "$last" --gradient_checkpointing
measure ptuning --train_type ptuning --pre_seq_len 16
measure full --train_type all --offload_optimizer --offload_param
echo '{"zero_optimization": {"stage": 3}}' >"$work/stage3.json"
measure lora-shared "${lora[@]}" --ds_file "$work/stage3.json"
measure full-shared --train_type all --ds_file "$work/stage3.json"
