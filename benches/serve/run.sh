#!/usr/bin/env bash
# Throughput and latency of `glmtune serve` on the 100m preset in float32, one client to many; beside llama.cpp's server
# on the same model where PyPI's xllamacpp can be installed, both in turn within one run. Bash and Python 3.
#
#   GLMTUNE=target/release/glmtune TOKENIZER=ChatGLM2-6B/ benches/serve/run.sh WORK_DIR
#
# TOKENIZER  folder with ChatGLM2's tokenizer.model and tokenizer_config.json (the model itself is made, at random)
# CLIENTS    numbers of clients                               (1 8 16 32)
# PROMPTS    lengths of prompts, each with 64 new tokens      (64 512)
# THREADS    threads of llama.cpp                             (as many as processors)
# SECONDS_OF_RUN  it ends after so many seconds               (450)
# LLAMA_CPP=0     leaves llama.cpp out
#
# Results are in WORK_DIR/cells/*.json. The same command goes on where it was stopped.
#
# A trial: TOKENIZER= MODEL=examples/small-base/model CLIENTS='1 4' PROMPTS=16 IDS='10 2000' LLAMA_CPP=0 benches/serve/run.sh /tmp/trial
set -euo pipefail
work=${1:?usage: run.sh WORK_DIR}
here=$(cd "$(dirname "$0")" && pwd)
glmtune=${GLMTUNE:-$here/../../target/release/glmtune}
until=$((SECONDS + ${SECONDS_OF_RUN:-450}))
mkdir -p "$work/cells"
work=$(cd "$work" && pwd)
servers=()
processes=()
urls=()
watched=()
trap '[ ${#processes[@]} = 0 ] || kill "${processes[@]}" 2>/dev/null || true' EXIT

model=${MODEL:-$work/model}
if [ ! -e "$model/config.json" ]; then
    rm -rf "$work/model.new"
    "$glmtune" init --preset 100m --dtype f32 --seed 1 --tokenizer "${TOKENIZER:?names no folder}" --output "$work/model.new"
    mv "$work/model.new" "$model"
fi

# Starts a server and waits until it says where it listens.
start() { # name, command…
    local name=$1 log=$work/$1.log
    shift
    : >"$log"
    "$@" >"$log" 2>&1 &
    local process=$!
    processes+=("$process")
    while ! grep -q 'listening on http' "$log"; do
        if ! kill -0 "$process" 2>/dev/null || ((SECONDS > until)); then
            echo "$name did not start: see $log" >&2
            return 1
        fi
        sleep 0.2
    done
    servers+=("$name")
    watched+=("$process")
    urls+=("$(grep -o 'http://[0-9.:]*' "$log" | tail -n 1)")
}

llama_cpp() {
    [ "${LLAMA_CPP:-1}" = 1 ] || return 0
    local python=$work/venv/bin/python
    if [ ! -x "$python" ]; then python3 -m venv "$work/venv"; fi
    if ! "$python" -c 'import xllamacpp, gguf, numpy' 2>/dev/null; then
        "$python" -m pip install --quiet xllamacpp gguf numpy || { echo 'llama.cpp: left out, it cannot be installed' >&2 && return 0; }
    fi
    if [ ! -e "$work/model.gguf" ]; then
        "$python" "$here/to_gguf.py" "$model" "$work/model.new"
        mv "$work/model.new" "$work/model.gguf"
    fi
    start llama.cpp "$python" "$here/llama_cpp.py" "$work/model.gguf" "${PORT:-9180}" 32 640 "${THREADS:-$(nproc)}" || true
}

cell() { # number of the server, clients, length of prompts
    local name=${servers[$1]} file requests=$(($2 * 2)) never_ends='{"min_tokens": 64}'
    file=$work/cells/$name-$3-$2.json
    [ ! -e "$file" ] || return 0
    if (($2 == 1)); then requests=3; elif (($3 > 64)); then requests=$2; fi
    [ "$name" = glmtune ] || never_ends='{"ignore_eos": true}'
    ((SECONDS < until)) || return 1
    timeout $((until - SECONDS)) python3 "$here/load.py" --url "${urls[$1]}" --pid "${watched[$1]}" --name "$name" \
        --clients "$2" --requests "$requests" --prompt_tokens "$3" --new_tokens 64 --ids ${IDS:-1000 60000} \
        --extra "$never_ends" --seed "$(($2 + $3))" --json "$file.new" >/dev/null && mv "$file.new" "$file"
}

start glmtune "$glmtune" serve --model_name_or_path "$model" --dtype f32 --backend flex --port 0 --mode glm2
llama_cpp
status=0
for length in ${PROMPTS:-64 512}; do
    for clients in ${CLIENTS:-1 8 16 32}; do
        for ((server = 0; server < ${#servers[@]}; server++)); do
            cell $server $clients $length || status=1
        done
    done
done
python3 "$here/report.py" "$work"/cells/*.json
[ $status = 0 ] || echo 'not all is done: the same command goes on' >&2
exit $status
