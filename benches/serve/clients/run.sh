#!/usr/bin/env bash
# Clients that others wrote against `glmtune serve`: openai of PyPI and of npm, langchain-openai, and lm-eval. What they
# need is installed into WORK_DIR, the models are small; a table tells what holds.
#
#   GLMTUNE=target/release/glmtune benches/serve/clients/run.sh WORK_DIR [openai|node|langchain|lm-eval]…
set -euo pipefail
work=${1:?usage: run.sh WORK_DIR [openai|node|langchain|lm-eval]…}
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
glmtune=${GLMTUNE:-$root/target/release/glmtune}
model=$root/examples/small-base/model
mkdir -p "$work/node"
work=$(cd "$work" && pwd)
processes=()
trap '[ ${#processes[@]} = 0 ] || kill "${processes[@]}" 2>/dev/null || true' EXIT

venv() { # folder, a module that tells that it is there, packages…
    local folder=$work/$1 module=$2
    shift 2
    [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
    "$folder/bin/python" -c "import $module" 2>/dev/null || "$folder/bin/python" -m pip install --quiet "$@"
}

# Starts a server on a port that is free, and puts its address into `url`.
serve() { # name of the log, flags…
    local log=$work/$1.log
    shift
    : >"$log"
    "$glmtune" serve --backend flex --dtype f32 --port 0 --kv_cache 100MB "$@" >"$log" 2>&1 &
    processes+=($!)
    for _ in $(seq 600); do
        if url=$(grep -o 'http://[0-9.:]*' "$log" | head -n 1) && [ -n "$url" ]; then return; fi
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    exit 1
}

if [ ! -e "$work/lora" ]; then
    "$glmtune" train --model_name_or_path "$model" --mode glm2 --backend flex --dtype f32 --max_steps 4 --no_dashboard --no_cache \
        --train_path "$root/examples/quick-start.jsonl" --train_type lora --lora_module_name all-linear --max_len 128 \
        --max_src_len 96 --learning_rate 1e-3 --output_dir "$work/lora.new" >"$work/train.log" 2>&1
    mv "$work/lora.new" "$work/lora"
fi
[ -e "$work/glm3" ] || "$glmtune" init --preset tiny --mode glm3 --output "$work/glm3" >/dev/null
if [ $# = 0 ]; then set -- openai node langchain lm-eval; fi
serve base --mode glm2 --model_name_or_path "$model" --adapter lora="$(echo "$work"/lora/epoch-*)" && base=$url
serve tools --model_name_or_path "$work/glm3" && tools=$url
serve full --mode glm2 --model_name_or_path "$model" --max_running 1 --max_waiting 1 && full=$url
status=0
for client in "$@"; do
    case $client in
    openai)
        venv venv langchain_openai openai langchain-openai
        "$work/venv/bin/python" "$here/openai_python.py" "$base" "$tools" "$full" || status=1
        ;;
    node)
        [ -d "$work/node/node_modules/openai" ] || npm install --silent --prefix "$work/node" openai >/dev/null
        (cd "$work/node" && node "$here/openai_node.mjs" "$base" "$tools") || status=1
        ;;
    langchain)
        venv venv langchain_openai openai langchain-openai
        "$work/venv/bin/python" "$here/langchain_chat.py" "$base" || status=1
        ;;
    lm-eval)
        venv venv-lmeval lm_eval 'lm-eval[api]'
        bash "$here/lm_eval.sh" "$work/venv-lmeval" "$glmtune" "$model" glm2 "$base" "$work" || status=1
        ;;
    *) echo "no client $client" >&2 && exit 2 ;;
    esac
done
exit $status
