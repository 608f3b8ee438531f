#!/usr/bin/env bash
# lm-eval's local-completions on tasks made from rows of a file, and whether its log-likelihoods are those that
# `glmtune score` has for the same tokens. Nothing is downloaded.
#
#   lm_eval.sh VENV GLMTUNE MODEL_DIR MODE URL WORK_DIR
set -euo pipefail
venv=$1 glmtune=$2 model=$3 mode=$4 url=$5 work=$6
here=$(cd "$(dirname "$0")" && pwd)
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME=$work/hf TOKENIZERS_PARALLELISM=false
rm -rf "$work/tasks" "$work/results"
mkdir -p "$work/tasks"
"$venv/bin/python" "$here/lm_eval_rows.py" tasks "$here/../../../examples/quick-start.jsonl" "$work/tasks"
name=$("$venv/bin/python" -c 'import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1]))["data"][0]["id"])' "$url/v1/models")
# A server with /tokenizer_info encodes for its clients; without it, they need the model's tokenizer.
reads=tokenizer_backend=remote
if ! "$venv/bin/python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "$url/tokenizer_info" 2>/dev/null; then
    reads=tokenizer_backend=huggingface,tokenizer=$model
    "$venv/bin/python" -c 'import transformers' 2>/dev/null || "$venv/bin/python" -m pip install --quiet transformers
fi
# A text's first token is scored after this one.
end=$("$venv/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["eos_token_id"])' "$model/config.json")
"$venv/bin/lm_eval" --model local-completions --include_path "$work/tasks" --tasks glmtune_choices,glmtune_answers,glmtune_texts \
    --model_args "model=$name,base_url=$url/v1/completions,num_concurrent=4,tokenized_requests=True,max_length=1024,custom_prefix_token_id=$end,$reads" \
    --log_samples --output_path "$work/results" >"$work/lm_eval.log" 2>&1 || { tail -n 30 "$work/lm_eval.log" && exit 1; }
"$venv/bin/python" "$here/lm_eval_rows.py" rows "$url" "$end" "$work/results" "$work/rows.jsonl" "$work/likelihoods.json"
"$glmtune" score --model_name_or_path "$model" --mode "$mode" --backend flex --dtype f32 --data "$work/rows.jsonl" \
    --max_len 1024 >"$work/scores.jsonl" 2>"$work/score.log" || { cat "$work/score.log" && exit 1; }
"$venv/bin/python" "$here/lm_eval_rows.py" compare "$work/likelihoods.json" "$work/scores.jsonl" "$reads"
