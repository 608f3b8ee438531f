#!/usr/bin/env python3
"""Tasks of lm-eval from a file of rows; what it found, as rows of tokens for `glmtune score`; and the two compared.

    lm_eval_rows.py tasks ROWS.jsonl FOLDER
    lm_eval_rows.py rows URL END_TOKEN RESULTS ROWS.jsonl LIKELIHOODS.json
    lm_eval_rows.py compare LIKELIHOODS.json SCORES.jsonl NAME
"""

import json
import pathlib
import sys
import urllib.request

MOST_DIFFERENCE = 1e-4
COMMON = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
num_fewshot: 0
"""
CHOICES = """
task: glmtune_choices
output_type: multiple_choice
doc_to_text: "{{question}}:"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list:
  - metric: acc
"""
ANSWERS = """
task: glmtune_answers
output_type: generate_until
doc_to_text: "{{question}}:"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: ["\\n", "."]
  max_gen_toks: 12
metric_list:
  - metric: exact_match
"""
TEXTS = """
task: glmtune_texts
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}: {{choices[0]}}."
metric_list:
  - metric: byte_perplexity
"""


def make_tasks(rows, folder):
    folder = pathlib.Path(folder)
    rows = [json.loads(line) for line in pathlib.Path(rows).read_text().splitlines()][:20]
    outputs = [row["output"] for row in rows]
    with (folder / "docs.jsonl").open("w") as file:
        for number, row in enumerate(rows):
            wrong = outputs[(number + 1) % len(outputs)], outputs[(number + 7) % len(outputs)] + " 你好"
            doc = {"question": row["instruction"] + row["input"], "choices": [row["output"], *wrong]}
            file.write(json.dumps(doc) + "\n")
    for name, task in (("choices", CHOICES), ("answers", ANSWERS), ("texts", TEXTS)):
        (folder / f"{name}.yaml").write_text(task + COMMON.format(data=folder / "docs.jsonl"))


def tokens(url, text):
    body = json.dumps({"prompt": text, "add_special_tokens": False}).encode()
    request = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["tokens"]


def samples(results, task):
    (path,) = pathlib.Path(results).rglob(f"samples_{task}*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def make_rows(url, end, results, rows, likelihoods):
    """The tokens of each choice after its question, as the client has cut them (the whole text's, less as many as the
    question has), and of each whole text after an end token."""
    found, laid_out = [], []
    for sample in samples(results, "glmtune_choices"):
        for number, answer in enumerate(sample["resps"]):
            asked = sample["arguments"][f"gen_args_{number}"]
            ids, known = tokens(url, asked["arg_0"] + asked["arg_1"]), len(tokens(url, asked["arg_0"]))
            laid_out.append({"input_ids": ids, "labels": [-100] * known + ids[known:]})
            found.append(float(answer[0][0]))
    for sample in samples(results, "glmtune_texts"):
        ids = tokens(url, sample["arguments"]["gen_args_0"]["arg_0"])
        laid_out.append({"input_ids": [int(end), *ids], "labels": [-100, *ids]})
        found.append(float(sample["resps"][0][0]))
    pathlib.Path(rows).write_text("".join(json.dumps(row) + "\n" for row in laid_out))
    pathlib.Path(likelihoods).write_text(json.dumps(found))


def compare(likelihoods, scores, name):
    ours = [json.loads(line) for line in pathlib.Path(scores).read_text().splitlines()]
    theirs = json.loads(pathlib.Path(likelihoods).read_text())
    assert len(ours) == len(theirs) > 0, (len(ours), len(theirs))
    differences = [abs(-score["loss"] * score["tokens"] - value) for score, value in zip(ours, theirs)]
    worst = max(differences)
    good = "ok   " if worst <= MOST_DIFFERENCE else "FAIL "
    print(f"lm-eval    {good} log-likelihoods of {len(theirs)} texts are score's: {worst:.1e} apart at most ({name.split(',')[0]})")
    sys.exit(worst > MOST_DIFFERENCE)


if __name__ == "__main__":
    {"tasks": make_tasks, "rows": make_rows, "compare": compare}[sys.argv[1]](*sys.argv[2:])
