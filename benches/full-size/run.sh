#!/usr/bin/env bash
# Memory and speed at full size, with random weights: the rows of the Python project's memory tables that one card can
# run, and what stands around a training; beside PyTorch where its code is given. Needs bash and glmtune alone.
#
#   GLMTUNE=target/release/glmtune BACKEND=cuda benches/full-size/run.sh WORK_DIR [PART…]
#
# PART       memory-0, memory-0.1 (dropout apart), speed, pytorch    (all of them)
# MODEL      a preset in place of ChatGLM-6B and ChatGLM2-6B
# DTYPE      compute type                                     (what the device has: bf16, f16, f32)
# MAX_LEN    longest row                                      (the table's)
# SECONDS_OF_PART  no part takes longer than this and 15 seconds    (420)
# PUBLISHED  folder with each preset's published Python code: then the part pytorch runs the same rows
#
# Results are in WORK_DIR/*.json; models are made there once. The same command goes on where one ended, as often as a
# part says that its time was up.
#
# A trial without a GPU: MODEL=100m MAX_LEN=256 BACKEND=flex SECONDS_OF_PART=60 benches/full-size/run.sh /tmp/trial
set -euo pipefail
work=${1:?usage: run.sh WORK_DIR [PART…]}
shift
here=$(cd "$(dirname "$0")" && pwd)
glmtune=${GLMTUNE:-$here/../../target/release/glmtune}
mkdir -p "$work"

bench() { # name of the results, flags…
    local results=$work/$1.json
    shift
    "$glmtune" bench --backend "${BACKEND:-cuda}" ${DTYPE:+--dtype "$DTYPE"} --seconds "${SECONDS_OF_PART:-420}" \
        --work_dir "$work" --output "$results" "$@"
}

memory() { # dropout
    bench "memory-$1" --profile python-readme --dropout "$1" ${MODEL:+--preset "$MODEL"} ${MAX_LEN:+--max_len "$MAX_LEN"}
}

speed() {
    bench speed prefill decode load update collectives kernels --preset "${MODEL:-chatglm2-6b}" \
        --max_len "${MAX_LEN:-1560}"
}

pytorch() {
    if [ -z "${PUBLISHED:-}" ]; then
        echo 'pytorch: left out, PUBLISHED names no folder' >&2
        return
    fi
    local preset method dropout until=$((SECONDS + ${SECONDS_OF_PART:-420}))
    for preset in ${MODEL:-chatglm-6b chatglm2-6b}; do
        for dropout in 0 0.1; do
            for method in lora ptuning freeze all; do
                for checkpointing in '' --gradient_checkpointing; do
                    ((SECONDS < until)) || return 0
                    timeout $((until - SECONDS)) python3 "$here/pytorch.py" --code "$PUBLISHED/$preset" \
                        --model "$work/$preset${DTYPE:+-$DTYPE}" --dtype "${DTYPE:-bf16}" --method "$method" \
                        --dropout "$dropout" --length "${MAX_LEN:-1560}" --done "$work/pytorch.txt" $checkpointing || true
                done
            done
        done
    done
}

if [ $# = 0 ]; then set -- memory-0 memory-0.1 speed pytorch; fi
status=0
for part in "$@"; do
    case $part in
    memory-0 | memory-0.1) memory "${part#memory-}" || status=1 ;;
    speed) speed || status=1 ;;
    pytorch) pytorch ;;
    *) echo "no part $part" >&2 && exit 2 ;;
    esac
done
exit $status
